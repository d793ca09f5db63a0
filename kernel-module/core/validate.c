// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a daemon may say.  Whatever passes here is safe for the packet path:
 * counts fit their arrays, lists are ascending, key lengths are those of the
 * cipher, reserved fields are zero.
 */
#include "core.h"

static bool is_zero(const void *p, size_t n)
{
	const u8 *octets = p;
	size_t i;

	for (i = 0; i < n; i++)
		if (octets[i])
			return false;
	return true;
}

/* What rtpengine/src/media/offload/module/abi.rs relies on. */
#define LAYOUT(structure, size) \
	_Static_assert(sizeof(struct structure) == (size), "the size of " #structure)
#define PLACE(structure, field, at) \
	_Static_assert(offsetof(struct structure, field) == (at), "the place of " #field)

LAYOUT(rtpe_init, 64);
LAYOUT(rtpe_target, 1232);
LAYOUT(rtpe_destination, 1352);
LAYOUT(rtpe_statistics, 4952);
LAYOUT(rtpe_call, 280);
LAYOUT(rtpe_stream, 304);
LAYOUT(rtpe_packet, 32);
LAYOUT(rtpe_media, 24);
LAYOUT(rtpe_frames, 24);
LAYOUT(rtpe_frame, 8);
LAYOUT(rtpe_player, 440);
LAYOUT(rtpe_player_statistics, 96);
PLACE(rtpe_player, delay_ns, 64);
PLACE(rtpe_player, media, 80);
PLACE(rtpe_player, encrypt, 120);
PLACE(rtpe_player_statistics, clear_bytes, 48);
PLACE(rtpe_player_statistics, timestamp, 88);
PLACE(rtpe_target, ssrc, 80);
PLACE(rtpe_target, track, 176);
PLACE(rtpe_target, payload, 368);
PLACE(rtpe_target, decrypt, 912);
PLACE(rtpe_destination, number, 88);
PLACE(rtpe_destination, ssrc, 104);
PLACE(rtpe_destination, payload, 232);
PLACE(rtpe_destination, encrypt, 1032);
PLACE(rtpe_statistics, input, 40);
PLACE(rtpe_statistics, reasons, 80);
PLACE(rtpe_statistics, ssrc, 696);
PLACE(rtpe_statistics, output, 1112);

/* 0 for a command that does not exist. */
size_t core_message_size(u16 command)
{
	switch (command) {
	case RTPE_INIT:
		return sizeof(struct rtpe_init);
	case RTPE_ADD_TARGET:
		return sizeof(struct rtpe_target);
	case RTPE_ADD_DESTINATION:
		return sizeof(struct rtpe_destination);
	case RTPE_DEL_TARGET:
	case RTPE_GET_STATISTICS:
		return sizeof(struct rtpe_statistics);
	case RTPE_ADD_CALL:
	case RTPE_DEL_CALL:
		return sizeof(struct rtpe_call);
	case RTPE_ADD_STREAM:
	case RTPE_DEL_STREAM:
	case RTPE_GET_STREAM:
		return sizeof(struct rtpe_stream);
	case RTPE_PACKET:
		return sizeof(struct rtpe_packet);
	case RTPE_ADD_MEDIA:
	case RTPE_DEL_MEDIA:
		return sizeof(struct rtpe_media);
	case RTPE_ADD_FRAMES:
		return sizeof(struct rtpe_frames);
	case RTPE_START_PLAYER:
		return sizeof(struct rtpe_player);
	case RTPE_GET_PLAYER:
	case RTPE_STOP_PLAYER:
		return sizeof(struct rtpe_player_statistics);
	}
	return 0;
}

/* n: octets of the system call. */
int core_validate_header(const struct rtpe_header *header, size_t n)
{
	size_t size;

	if (n < sizeof(*header))
		return -EIO;
	if (header->magic != RTPE_ABI_MAGIC || header->reserved)
		return -EINVAL;
	size = core_message_size(header->command);
	if (!size)
		return -EINVAL;
	/* INIT with another version is answered, so that both are known. */
	if (header->version != RTPE_ABI_VERSION && header->command != RTPE_INIT)
		return -EPROTO;
	if (header->length != n || n < size)
		return -EMSGSIZE;
	if (header->command == RTPE_PACKET || header->command == RTPE_ADD_FRAMES)
		return n > size && n - size <= RTPE_MAX_PACKET ? 0 : -EMSGSIZE;
	return n == size ? 0 : -ERANGE;
}

static int validate_address(const struct rtpe_address *address)
{
	if (address->reserved || !address->port)
		return -EINVAL;
	switch (address->family) {
	case 4:
		return is_zero(address->ip + 4, 12) && !is_zero(address->ip, 4) ? 0 : -EINVAL;
	case 6:
		return is_zero(address->ip, 16) ? -EINVAL : 0;
	}
	return -EAFNOSUPPORT;
}

static int validate_hmac_suite(const struct rtpe_crypto *crypto)
{
	if (crypto->salt_length != 14 || crypto->hmac != RTPE_HMAC_SHA1)
		return -EINVAL;
	if (crypto->rtp_tag && crypto->rtp_tag != 4 && crypto->rtp_tag != 10)
		return -EINVAL;
	return crypto->rtcp_tag == 4 || crypto->rtcp_tag == 10 ? 0 : -EINVAL;
}

static int validate_crypto(const struct rtpe_crypto *crypto)
{
	u8 key = crypto->key_length;

	if (!core_has_srtp(crypto))
		return is_zero(crypto, sizeof(*crypto)) ? 0 : -EINVAL;
	if (crypto->reserved || crypto->reserved2 || !is_zero(crypto->reserved3, 2) ||
	    crypto->flags & ~RTPE_CRYPTO_FLAGS || crypto->mki_length >= RTPE_MAX_MKI)
		return -EINVAL;
	switch (crypto->cipher) {
	case RTPE_CIPHER_NULL:
	case RTPE_CIPHER_AES_F8:
		return key == 16 ? validate_hmac_suite(crypto) : -EINVAL;
	case RTPE_CIPHER_AES_CM:
		return key == 16 || key == 24 || key == 32 ? validate_hmac_suite(crypto) : -EINVAL;
	case RTPE_CIPHER_AES_GCM:
		return (key == 16 || key == 32) && crypto->hmac == RTPE_HMAC_NULL &&
		       crypto->salt_length == 12 && crypto->rtp_tag == CORE_GCM_TAG &&
		       crypto->rtcp_tag == CORE_GCM_TAG ? 0 : -EINVAL;
	}
	return -EINVAL;
}

static int validate_ssrc(const struct rtpe_ssrc *ssrc, u64 last_rtcp)
{
	if (ssrc->flags & ~RTPE_SSRC_FLAGS || !is_zero(ssrc->reserved, 3))
		return -EINVAL;
	if (!(ssrc->flags & RTPE_SSRC_USED))
		return is_zero(ssrc, sizeof(*ssrc)) ? 0 : -EINVAL;
	if (ssrc->rtp_index > CORE_LAST_RTP || ssrc->rtcp_index > last_rtcp)
		return -EINVAL;
	return ssrc->group < RTPE_MAX_GROUPS ? 0 : -EINVAL;
}

int core_validate_target(const struct rtpe_target *target)
{
	int i, err = validate_address(&target->local);

	if (err)
		return err;
	if (target->flags & ~RTPE_TARGET_FLAGS || !is_zero(target->reserved, 3) ||
	    target->outputs > RTPE_MAX_OUTPUTS || target->payloads > RTPE_MAX_PAYLOADS ||
	    target->groups > RTPE_MAX_GROUPS || target->mismatch > RTPE_MISMATCH_PROPAGATE)
		return -EINVAL;
	if (target->expected.family) {
		err = validate_address(&target->expected);
		if (err || target->expected.family != target->local.family)
			return -EINVAL;
	} else if (!is_zero(&target->expected, sizeof(target->expected)) ||
		   target->mismatch != RTPE_MISMATCH_IGNORE) {
		return -EINVAL;
	}
	if (!target->outputs != !!(target->flags & RTPE_TARGET_NON_FORWARDING))
		return -EINVAL;
	if (!(target->flags & RTPE_TARGET_INTERCEPT) && target->stream)
		return -EINVAL;
	for (i = 0; i < RTPE_MAX_SSRCS; i++) {
		err = validate_ssrc(&target->ssrc[i], CORE_LAST_RTCP);
		if (err)
			return err;
	}
	for (i = 0; i < RTPE_MAX_SSRCS; i++) {
		const struct rtpe_track *track = &target->track[i];

		/* (a clock rate is a divisor with a sign, elsewhere) */
		if (track->started > 1 || !is_zero(track->reserved, 6) || track->clock_rate > 0x7fffffff ||
		    track->highest > 1ull << 62 || track->arrival_us > 1ull << 62)
			return -EINVAL;
	}
	for (i = 0; i < target->payloads; i++) {
		const struct rtpe_payload *payload = &target->payload[i];

		if (payload->payload_type > 127 || payload->reserved ||
		    payload->clock_rate > 0x7fffffff || payload->group >= RTPE_MAX_GROUPS)
			return -EINVAL;
		if (i && payload[-1].payload_type >= payload->payload_type)
			return -EINVAL;
	}
	for (i = 0; i < RTPE_MAX_GROUPS; i++)
		if (target->mid[i].length > RTPE_MAX_MID)
			return -EINVAL;
	return validate_crypto(&target->decrypt);
}

int core_validate_destination(const struct rtpe_destination *destination)
{
	int i, err = validate_address(&destination->local);

	if (!err)
		err = validate_address(&destination->source);
	if (!err)
		err = validate_address(&destination->destination);
	if (err)
		return err;
	if (destination->source.family != destination->destination.family)
		return -EAFNOSUPPORT;
	if (destination->flags & ~RTPE_OUTPUT_FLAGS || !is_zero(destination->reserved, 4) ||
	    destination->number >= RTPE_MAX_OUTPUTS ||
	    destination->media >= RTPE_MAX_GROUPS ||
	    destination->payloads > RTPE_MAX_PAYLOADS ||
	    destination->extensions > RTPE_MAX_EXTENSIONS)
		return -EINVAL;
	for (i = 0; i < RTPE_MAX_SSRCS; i++) {
		err = validate_ssrc(&destination->ssrc[i].out, CORE_LAST_RTCP + 1);
		if (err || destination->ssrc[i].reserved)
			return -EINVAL;
	}
	for (i = 0; i < destination->payloads; i++) {
		const struct rtpe_output_payload *payload = &destination->payload[i];

		if (payload->payload_type > 127 || payload->renamed > 127 || payload->reserved2 ||
		    payload->action > RTPE_PAYLOAD_RENAME ||
		    (payload->renamed && payload->action != RTPE_PAYLOAD_RENAME) ||
		    payload->pattern_length > RTPE_MAX_PATTERN)
			return -EINVAL;
		if (!payload->pattern_length != (payload->action != RTPE_PAYLOAD_REPLACE))
			return -EINVAL;
		if (i && payload[-1].payload_type >= payload->payload_type)
			return -EINVAL;
	}
	for (i = 0; i < destination->extensions; i++)
		if (!destination->extension[i] ||
		    (i && destination->extension[i - 1] >= destination->extension[i]))
			return -EINVAL;
	return validate_crypto(&destination->encrypt);
}

/* The name of a file: NUL-terminated, one path component. */
int core_validate_name(const char *name)
{
	size_t n;

	for (n = 0; n < RTPE_MAX_NAME && name[n]; n++)
		if (name[n] == '/' || (u8)name[n] < 0x20)
			return -EINVAL;
	if (!n || n == RTPE_MAX_NAME)
		return -EINVAL;
	if (name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.')))
		return -EINVAL;
	return 0;
}

int core_validate_media(const struct rtpe_media *media)
{
	return media->clock_rate && media->clock_rate <= RTPE_MAX_CLOCK_RATE ? 0 : -EINVAL;
}

/* As many frames as were announced, and nothing else.  None is so short that its player does nothing but wake up. */
int core_validate_frames(const struct rtpe_frames *message, size_t n, u32 clock_rate)
{
	const u8 *p = (const u8 *)message;
	size_t at = sizeof(*message);
	u32 i;

	for (i = 0; i < message->count; i++) {
		struct rtpe_frame frame;

		if (n - at < sizeof(frame))
			return -EMSGSIZE;
		memcpy(&frame, p + at, sizeof(frame));
		at += sizeof(frame);
		if (frame.reserved || !frame.length || frame.length > RTPE_MAX_FRAME)
			return -EINVAL;
		if ((u64)frame.duration * 1000 < clock_rate || frame.duration > 60ull * clock_rate)
			return -EINVAL;
		if (n - at < frame.length)
			return -EMSGSIZE;
		at += frame.length;
	}
	return message->count && at == n ? 0 : -EMSGSIZE;
}

int core_validate_player(const struct rtpe_player *player)
{
	int err = validate_address(&player->source);

	if (!err)
		err = validate_address(&player->destination);
	if (err)
		return err;
	if (player->source.family != player->destination.family)
		return -EAFNOSUPPORT;
	if (player->flags & ~(RTPE_PLAYER_MARKER | RTPE_PLAYER_INDEX) || player->payload_type > 127 ||
	    player->delay_ns > 60000000000ull || player->rtp_index > CORE_LAST_RTP)
		return -EINVAL;
	return validate_crypto(&player->encrypt);
}
