// SPDX-License-Identifier: GPL-2.0-or-later
/* Media that are sent by themselves: what may be said, and what is due when. */
#include <stdio.h>
#include <stdlib.h>

#include "core_test.h"

static int failures;

#define CHECK(condition, ...) do { \
	if (!(condition)) { \
		failures++; \
		printf("FAIL %s:%d %s: ", __FILE__, __LINE__, #condition); \
		printf(" " __VA_ARGS__); \
		printf("\n"); \
	} \
} while (0)

/* A message with frames of these durations, whose payloads are their durations' low octets. */
static size_t frames(u8 *p, const u32 *durations, u32 count)
{
	struct rtpe_frames head = { .count = count };
	size_t at = sizeof(head);
	u32 i;

	memcpy(p, &head, sizeof(head));
	for (i = 0; i < count; i++) {
		struct rtpe_frame frame = { .duration = durations[i], .length = 1 + i };

		memcpy(p + at, &frame, sizeof(frame));
		at += sizeof(frame);
		memset(p + at, durations[i], frame.length);
		at += frame.length;
	}
	return at;
}

static void commands_are_validated(void)
{
	struct rtpe_player player = { .source = { .family = 4, .port = 1, .ip = { 127, 0, 0, 1 } },
				      .destination = { .family = 4, .port = 2, .ip = { 127, 0, 0, 1 } } };
	static const u32 durations[] = { 160, 8, 480000 };
	struct rtpe_media media = { .clock_rate = 8000 };
	struct rtpe_header header = { RTPE_ABI_MAGIC, RTPE_ABI_VERSION, RTPE_ADD_FRAMES, sizeof(struct rtpe_frames), 0 };
	_Alignas(8) u8 message[256], wrong[256];
	size_t n = frames(message, durations, 3), i;

	CHECK(core_validate_media(&media) == 0);
	media.clock_rate = 0;
	CHECK(core_validate_media(&media) == -EINVAL);
	media.clock_rate = RTPE_MAX_CLOCK_RATE + 1;
	CHECK(core_validate_media(&media) == -EINVAL);

	CHECK(core_validate_header(&header, header.length) == -EMSGSIZE, "no frame");
	header.length += RTPE_MAX_PACKET;
	CHECK(core_validate_header(&header, header.length) == 0);
	header.length++;
	CHECK(core_validate_header(&header, header.length) == -EMSGSIZE, "too many octets");

	CHECK(core_validate_frames((void *)message, n, 8000) == 0);
	CHECK(core_validate_frames((void *)message, n, 8001) == -EINVAL, "shorter than a millisecond");
	CHECK(core_validate_frames((void *)message, n, 7999) == -EINVAL, "longer than a minute");
	for (i = sizeof(struct rtpe_frames); i < n; i++)
		CHECK(core_validate_frames((void *)message, i, 8000) == -EMSGSIZE, "%zu octets", i);
	CHECK(core_validate_frames((void *)message, n + 1, 8000) == -EMSGSIZE, "an octet too many");
#define WRONG(type, at, field, value, err) do { \
	memcpy(wrong, message, n); \
	((type *)(wrong + (at)))->field = value; \
	CHECK(core_validate_frames((void *)wrong, n, 8000) == err); \
} while (0)
	WRONG(struct rtpe_frames, 0, count, 0, -EMSGSIZE);
	WRONG(struct rtpe_frames, 0, count, 2, -EMSGSIZE);
	WRONG(struct rtpe_frames, 0, count, 4, -EMSGSIZE);
	WRONG(struct rtpe_frame, sizeof(struct rtpe_frames), length, 0, -EINVAL);
	WRONG(struct rtpe_frame, sizeof(struct rtpe_frames), length, RTPE_MAX_FRAME + 1, -EINVAL);
	WRONG(struct rtpe_frame, sizeof(struct rtpe_frames), reserved, 1, -EINVAL);
	WRONG(struct rtpe_frame, sizeof(struct rtpe_frames), duration, 0, -EINVAL);

	CHECK(core_validate_player(&player) == 0);
#define BAD(field, value) do { \
	struct rtpe_player bad = player; \
	bad.field = value; \
	CHECK(core_validate_player(&bad) < 0); \
} while (0)
	BAD(source.port, 0);
	BAD(source.ip[0], 0; bad.source.ip[3] = 0);
	BAD(destination.family, 6);
	BAD(destination.family, 0);
	BAD(flags, RTPE_PLAYER_ENDED);
	BAD(payload_type, 128);
	BAD(delay_ns, 60000000001ull);
	BAD(rtp_index, CORE_LAST_RTP + 1);
	BAD(encrypt.cipher, 1);
}

static struct core_piece *piece(const u32 *durations, u32 count)
{
	struct core_piece *piece = malloc(sizeof(*piece) + 256);
	_Alignas(8) u8 message[256];

	piece->length = frames(message, durations, count) - sizeof(struct rtpe_frames);
	/* Not an octet more than there is: the sanitizer sees what is read behind it. */
	piece = realloc(piece, sizeof(*piece) + piece->length);
	piece->count = count;
	memcpy(piece->octets, message + sizeof(struct rtpe_frames), piece->length);
	return piece;
}

struct packet {
	u32 ms;
	u16 sequence;
	u32 timestamp;
	u16 length;
	bool marker;
};

/* What a player sends that is always asked in time. */
static void sends(struct core_player *player, const struct packet *expected, size_t count, const char *what)
{
	struct core_frame frame;
	u8 header[CORE_RTP_HEADER];
	size_t i;

	for (i = 0; i < count; i++) {
		u64 due = player->due_ns;

		CHECK(core_player_turn(player, due, &frame, header), "%s %zu", what, i);
		CHECK(due == expected[i].ms * 1000000ull, "%s %zu: %llu ns", what, i, (unsigned long long)due);
		CHECK(core_be16(header + 2) == expected[i].sequence, "%s %zu", what, i);
		CHECK(core_be32(header + 4) == expected[i].timestamp, "%s %zu", what, i);
		CHECK(header[0] == 0x80 && header[1] == (expected[i].marker ? 0x88 : 8), "%s %zu", what, i);
		CHECK(core_be32(header + 8) == 77, "%s %zu", what, i);
		CHECK(frame.length == expected[i].length, "%s %zu: %u", what, i, frame.length);
		CHECK(frame.payload[frame.length - 1] == (u8)frame.duration, "%s %zu", what, i);
	}
}

static bool has_ended(struct core_player *player)
{
	struct core_frame frame;
	u8 header[CORE_RTP_HEADER];
	u16 sequence = player->sequence;

	return !core_player_turn(player, player->due_ns, &frame, header) && player->ended &&
	       player->sequence == sequence && !core_player_turn(player, player->due_ns, &frame, header);
}

static void frames_follow_each_other(void)
{
	static const u32 first[] = { 160, 160, 320 }, second[] = { 80 };
	static const struct packet twice[] = {
		{ 0, 65534, 0xffffff00, 1, true }, { 20, 65535, 0xffffffa0, 2, false },
		{ 40, 0, 0x40, 3, false }, { 80, 1, 0x180, 1, false },
		{ 90, 2, 0x1d0, 1, false }, { 110, 3, 0x270, 2, false },
		{ 130, 4, 0x310, 3, false }, { 170, 5, 0x450, 1, false },
	};
	static const struct packet later[] = { { 0, 65534, 0xffffff00, 3, true }, { 40, 65535, 64, 1, false } };
	const struct core_player fresh = { .ssrc = 77, .payload_type = 8, .sequence = 65534, .timestamp = 0xffffff00,
					   .marker = true, .plays = 2 };
	struct core_media media = { .clock_rate = 8000 };
	struct core_player player = fresh;
	struct core_frame frame;
	u8 header[CORE_RTP_HEADER];
	int i;

	CHECK(!core_player_begin(&player, &media, 0), "no frame");
	core_media_append(&media, piece(first, 3));
	core_media_append(&media, piece(second, 1));
	CHECK(media.frames == 4 && !core_player_begin(&player, &media, 4));
	CHECK(core_player_begin(&player, &media, 0));
	sends(&player, twice, 8, "two plays");
	CHECK(player.due_ns == 180000000 && has_ended(&player) && player.frames == 8);

	player = fresh;
	player.plays = 1;
	CHECK(core_player_begin(&player, &media, 2));
	sends(&player, later, 2, "from the third frame on");
	CHECK(has_ended(&player));
	player = fresh;
	player.plays = 1;
	CHECK(core_player_begin(&player, &media, 3));
	sends(&player, &(struct packet){ 0, 65534, 0xffffff00, 1, true }, 1, "the last frame");
	CHECK(has_ended(&player));

	/* A packet that begins before the limit is sent whole. */
	player = fresh;
	player.is_limited = true;
	player.ticks = 161;
	CHECK(core_player_begin(&player, &media, 0));
	sends(&player, twice, 2, "limited");
	CHECK(has_ended(&player));

	player = fresh;
	player.plays = 0;
	CHECK(core_player_begin(&player, &media, 0));
	for (i = 0; i < 1000; i++)
		CHECK(core_player_turn(&player, player.due_ns, &frame, header));
	CHECK(player.due_ns == 250 * 90000000ull && !player.ended);

	/* Up to 60 ms late packets follow faster; a longer gap is one of media time, too. */
	player = fresh;
	CHECK(core_player_begin(&player, &media, 0));
	CHECK(core_player_turn(&player, 59000000, &frame, header) && player.due_ns == 20000000);
	CHECK(core_player_turn(&player, 59000000, &frame, header) && player.due_ns == 40000000);
	CHECK(core_be32(header + 4) == 0xffffffa0 && header[1] == 8);
	CHECK(core_player_turn(&player, 140000000, &frame, header) && player.due_ns == 180000000);
	CHECK(core_be32(header + 4) == 0x40 + 800 && header[1] == 0x88, "%x", core_be32(header + 4));
	CHECK(core_player_turn(&player, 1, &frame, header) && player.due_ns == 190000000, "a clock that went back");
	free(media.first);
	free(media.last);
}

int test_players(void)
{
	commands_are_validated();
	frames_follow_each_other();
	return failures;
}
