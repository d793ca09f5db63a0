// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an output changes in a packet.
 */
#include "core.h"

void core_rewrite_rtp(u8 *p, const struct rtpe_output_ssrc *to)
{
	core_put_be16(p + 2, core_be16(p + 2) + to->sequence_offset);
	core_put_be32(p + 4, core_be32(p + 4) + to->timestamp_offset);
	core_put_be32(p + 8, to->out.ssrc);
}

/*
 * Only the sender of the first packet: an output that renumbers time stamps
 * needs its sender reports rewritten, which is the daemon's work.
 */
void core_rewrite_rtcp(u8 *p, const struct rtpe_output_ssrc *to)
{
	core_put_be32(p + 4, to->out.ssrc);
}

void core_fill_payload(u8 *p, size_t header, size_t n, const u8 *pattern, u8 length)
{
	size_t at, piece;

	if (length == 1) {
		memset(p + header, pattern[0], n - header);
		return;
	}
	for (at = header; at < n; at += piece) {
		piece = n - at < length ? n - at : length;
		memcpy(p + at, pattern, piece);
	}
}
