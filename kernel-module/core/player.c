// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Media that are sent by themselves: which frame is due when, under which
 * numbers.  In step with the players of user space, which a player comes from
 * and goes back to.
 */
#include "core.h"

void core_media_append(struct core_media *media, struct core_piece *piece)
{
	piece->next = NULL;
	if (media->last)
		media->last->next = piece;
	else
		media->first = piece;
	media->last = piece;
	media->frames += piece->count;
}

/* The frame at the player's place; the place is then that of the next one. */
static void take_frame(struct core_player *player, struct core_frame *frame)
{
	const struct core_piece *piece = player->piece;
	struct rtpe_frame head;

	memcpy(&head, piece->octets + player->at, sizeof(head));
	frame->duration = head.duration;
	frame->length = head.length;
	frame->payload = piece->octets + player->at + sizeof(head);
	player->at += sizeof(head) + head.length;
	if (player->at >= piece->length) {
		player->piece = piece->next;
		player->at = 0;
	}
}

bool core_player_begin(struct core_player *player, const struct core_media *media, u32 first_frame)
{
	struct core_frame frame;

	if (first_frame >= media->frames)
		return false;
	player->media = media;
	player->piece = media->first;
	player->at = 0;
	while (first_frame >= player->piece->count) {
		first_frame -= player->piece->count;
		player->piece = player->piece->next;
	}
	while (first_frame--)
		take_frame(player, &frame);
	return true;
}

static bool next_frame(struct core_player *player, struct core_frame *frame)
{
	if (player->is_limited && !player->ticks)
		return false;
	if (!player->piece) {
		if (player->plays == 1)
			return false;
		if (player->plays)
			player->plays--;
		player->piece = player->media->first;
	}
	take_frame(player, frame);
	if (player->is_limited)
		player->ticks -= frame->duration < player->ticks ? frame->duration : player->ticks;
	return true;
}

/* After a time in which nobody sent anything, media time has gone on. */
static void catch_up(struct core_player *player, u64 now_ns)
{
	u64 late = now_ns > player->due_ns ? now_ns - player->due_ns : 0;

	if (late < CORE_UNDER_RUN_NS)
		return;
	player->timestamp += (u32)div_u64(div_u64(late, 1000) * player->media->clock_rate, 1000000);
	player->due_ns = now_ns;
	player->marker = true;
}

bool core_player_turn(struct core_player *player, u64 now_ns, struct core_frame *frame,
		      u8 header[CORE_RTP_HEADER])
{
	if (player->ended || !next_frame(player, frame)) {
		player->ended = true;
		return false;
	}
	catch_up(player, now_ns);
	header[0] = 0x80;
	header[1] = player->payload_type | (player->marker ? 0x80 : 0);
	core_put_be16(header + 2, player->sequence);
	core_put_be32(header + 4, player->timestamp);
	core_put_be32(header + 8, player->ssrc);
	player->marker = false;
	player->sequence++;
	player->timestamp += frame->duration;
	player->frames++;
	player->due_ns += div_u64((u64)frame->duration * 1000000000ull, player->media->clock_rate);
	return true;
}
