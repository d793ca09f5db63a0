// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One input, everywhere: as a datagram to parse, rewrite and unprotect, as a
 * command, as a packet of a tap. With -fsanitize=fuzzer this is a fuzz target.
 */
#include <stdlib.h>

#include "core_test.h"

static void as_datagram(const u8 *input, size_t n)
{
	static const u8 allowed[] = { 2, 7, 9 };
	struct rtpe_output_ssrc to = { .out.ssrc = 1, .sequence_offset = 7, .timestamp_offset = 8 };
	u8 *p = malloc(n + 1), length = 0;
	struct core_account account = {};
	struct core_rtp rtp;

	memcpy(p, input, n);
	core_is_stun(p, n);
	core_is_dtls(p, n);
	core_is_feedback(p, n);
	if (core_parse_rtp(p, n, &rtp)) {
		u16 at = core_find_extension(p, &rtp, input[1] & 15, &length);

		if (at && (size_t)at + length > rtp.header)
			abort();
		core_filter_extensions(p, &rtp, allowed, 3);
		core_rewrite_rtp(p, &to);
		core_fill_payload(p, rtp.header, n, (const u8 *)"abcdefgh", 1 + n % 8);
		core_account_rtp(&account, &rtp, n - rtp.header, n * 1000000ull, 48000);
	}
	if (core_is_rtcp(p, n))
		core_rewrite_rtcp(p, &to);
	memcpy(p, input, n);
	core_finish_packet(p, n);
	free(p);
}

static void as_srtp(const u8 *input, size_t n)
{
	static struct core_srtp srtp[3];
	static bool open;
	int i;

	for (i = 0; i < 3 && !open; i++) {
		struct rtpe_crypto crypto = {
			.cipher = RTPE_CIPHER_AES_CM, .hmac = 1, .rtp_tag = i ? 0 : 10, .rtcp_tag = 10,
			.key_length = 16, .salt_length = 14, .mki_length = i,
		};

		if (i == 2) {
			crypto.cipher = RTPE_CIPHER_AES_GCM;
			crypto.hmac = 0;
			crypto.rtp_tag = 16;
			crypto.rtcp_tag = 16;
			crypto.salt_length = 12;
		}
		open_srtp(&srtp[i], &crypto);
	}
	open = true;
	for (i = 0; i < 3; i++) {
		struct core_window window = {}, sent = {};
		size_t room = core_srtp_rtcp_overhead(&srtp[i]) + core_srtp_rtp_overhead(&srtp[i]);
		u8 *p = malloc(n + 1);
		u32 index = 0;
		int length;

		memcpy(p, input, n);
		core_unprotect_rtp(&srtp[i], &window, p, n);
		memcpy(p, input, n);
		core_unprotect_rtcp(&srtp[i], &window, p, n);
		free(p);
		p = malloc(n + room);
		memcpy(p, input, n);
		length = core_protect_rtp(&srtp[i], &sent, p, n);
		if (length >= 0) {
			memset(&window, 0, sizeof(window));
			if (core_unprotect_rtp(&srtp[i], &window, p, length) != (int)n ||
			    memcmp(p, input, n))
				abort();
		}
		memcpy(p, input, n);
		length = core_protect_rtcp(&srtp[i], &index, p, n);
		if (length >= 0) {
			memset(&window, 0, sizeof(window));
			if (core_unprotect_rtcp(&srtp[i], &window, p, length) != (int)n ||
			    memcmp(p, input, n))
				abort();
		}
		free(p);
	}
}

static void as_command(const u8 *input, size_t n)
{
	struct rtpe_target target = {};
	struct rtpe_destination destination = {};
	char name[RTPE_MAX_NAME] = {};

	if (n >= sizeof(struct rtpe_header)) {
		struct rtpe_header header;

		memcpy(&header, input, sizeof(header));
		core_validate_header(&header, n);
	}
	memcpy(&target, input, n < sizeof(target) ? n : sizeof(target));
	if (!core_validate_target(&target) &&
	    (target.payloads > RTPE_MAX_PAYLOADS || target.outputs > RTPE_MAX_OUTPUTS))
		abort();
	memcpy(&destination, input, n < sizeof(destination) ? n : sizeof(destination));
	core_validate_destination(&destination);
	memcpy(name, input, n < sizeof(name) ? n : sizeof(name));
	core_validate_name(name);
}

/* Frames that are believed are played; the first octets say from which one on, and how late. */
static void as_media(const u8 *input, size_t n)
{
	size_t message_n = n < 4 ? 0 : n - 4, length;
	struct rtpe_player player = {};
	struct core_media media = {};
	struct core_player core = { .plays = 2 };
	struct core_piece *piece;
	struct core_frame frame;
	u8 header[CORE_RTP_HEADER], *message, sum = 0;
	int i;

	memcpy(&player, input, n < sizeof(player) ? n : sizeof(player));
	core_validate_player(&player);
	if (n < 4 + sizeof(struct rtpe_frames))
		return;
	media.clock_rate = 1 + core_be16(input);
	message = malloc(message_n);
	memcpy(message, input + 4, message_n);
	/* (a count that fits what stands there is found by nobody) */
	for (i = 0; i < 8; i++) {
		((struct rtpe_frames *)message)->count = i;
		if (!core_validate_frames((void *)message, message_n, media.clock_rate))
			break;
	}
	length = message_n - sizeof(struct rtpe_frames);
	piece = malloc(sizeof(*piece) + length);
	piece->count = i;
	piece->length = length;
	memcpy(piece->octets, message + sizeof(struct rtpe_frames), length);
	free(message);
	if (i < 8) {
		core_media_append(&media, piece);
		if (!core_player_begin(&core, &media, input[2] % i))
			abort();
		while (core_player_turn(&core, core.due_ns + input[3] * 1000000ull, &frame, header))
			for (i = 0; i < frame.length; i++)
				sum ^= frame.payload[i];
		if (!core.ended || sum == header[0])
			sum++;
	}
	free(piece);
}

void any_input(const u8 *p, size_t n)
{
	as_media(p, n);
	as_datagram(p, n);
	as_srtp(p, n);
	as_command(p, n);
}

#ifdef FUZZER
int LLVMFuzzerTestOneInput(const u8 *p, size_t n)
{
	any_input(p, n);
	return 0;
}
#endif
