// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a datagram is: STUN, DTLS, RTCP or RTP (RFC 7983, 5761, 3550, 8285).
 */
#include "core.h"

#define STUN_HEADER		20
#define STUN_FINGERPRINT	0x8028
#define STUN_COOKIE		0x2112a442u

/*
 * A media packet must not be taken for STUN: everything that RFC 8489 fixes is
 * asked for, down to the FINGERPRINT attribute at the end.
 */
bool core_is_stun(const u8 *p, size_t n)
{
	if (n < STUN_HEADER + 8 || n % 4 || p[0] & 0xc0)
		return false;
	if (core_be16(p + 2) != n - STUN_HEADER || core_be32(p + 4) != STUN_COOKIE)
		return false;
	return core_be16(p + n - 8) == STUN_FINGERPRINT && core_be16(p + n - 6) == 4;
}

bool core_is_dtls(const u8 *p, size_t n)
{
	return n && p[0] >= 20 && p[0] <= 63;
}

bool core_is_rtcp(const u8 *p, size_t n)
{
	return n >= CORE_RTCP_HEADER && (p[0] & 0xc0) == 0x80 && p[1] >= 192 && p[1] <= 223;
}

/* Transport-layer and payload-specific feedback, RFC 4585 6.1. */
bool core_is_feedback(const u8 *p, size_t n)
{
	return core_is_rtcp(p, n) && (p[1] == 205 || p[1] == 206);
}

bool core_parse_rtp(const u8 *p, size_t n, struct core_rtp *rtp)
{
	size_t header = CORE_RTP_HEADER;

	if (n < CORE_RTP_HEADER || n > RTPE_MAX_PACKET || (p[0] & 0xc0) != 0x80)
		return false;
	header += 4 * (size_t)(p[0] & 0x0f);
	rtp->extension = 0;
	rtp->extension_length = 0;
	rtp->extension_profile = 0;
	if (p[0] & 0x10) {
		size_t length;

		if (header + 4 > n)
			return false;
		rtp->extension_profile = core_be16(p + header);
		length = 4 * (size_t)core_be16(p + header + 2);
		header += 4;
		/* A length of 2^16 - 1 words is longer than any datagram. */
		if (header + length > n)
			return false;
		rtp->extension = header;
		rtp->extension_length = length;
		header += length;
	}
	if (header > n)
		return false;
	rtp->header = header;
	rtp->marker = p[1] & 0x80;
	rtp->payload_type = p[1] & 0x7f;
	rtp->sequence = core_be16(p + 2);
	rtp->timestamp = core_be32(p + 4);
	rtp->ssrc = core_be32(p + 8);
	return true;
}

struct element {
	u16 header;		/* offset */
	u16 data;
	u8 id;
	u8 length;
};

/* The element at or behind *at; false at the end or at what cannot be read. */
static bool next_element(const u8 *p, const struct core_rtp *rtp, u32 *at, struct element *e)
{
	u32 end = (u32)rtp->extension + rtp->extension_length;
	bool two_octets;

	if (rtp->extension_profile == 0xbede)
		two_octets = false;
	else if ((rtp->extension_profile & 0xfff0) == 0x1000)
		two_octets = true;
	else
		return false;
	while (*at < end && !p[*at])
		(*at)++;
	if (*at >= end)
		return false;
	e->header = *at;
	if (two_octets) {
		if (*at + 2 > end)
			return false;
		e->id = p[*at];
		e->length = p[*at + 1];
		e->data = *at + 2;
	} else {
		e->id = p[*at] >> 4;
		e->length = (p[*at] & 0x0f) + 1;
		e->data = *at + 1;
		/* RFC 8285 4.2: the rest is not to be looked at. */
		if (e->id == 15)
			return false;
		/* id 0 with a length: skipped as padding of one octet and data. */
	}
	if ((u32)e->data + e->length > end)
		return false;
	*at = (u32)e->data + e->length;
	return true;
}

u16 core_find_extension(const u8 *p, const struct core_rtp *rtp, u8 id, u8 *length)
{
	u32 at = rtp->extension;
	struct element e;

	while (next_element(p, rtp, &at, &e)) {
		if (e.id == id) {
			*length = e.length;
			return e.data;
		}
	}
	return 0;
}

void core_filter_extensions(u8 *p, const struct core_rtp *rtp, const u8 *allowed, u8 count)
{
	u32 at = rtp->extension, end = at + rtp->extension_length;
	struct element e;
	u8 i;

	while (next_element(p, rtp, &at, &e)) {
		for (i = 0; i < count && allowed[i] < e.id; i++)
			;
		if (i == count || allowed[i] != e.id)
			memset(p + e.header, 0, at - e.header);
	}
	/* What could not be read must not pass, either. */
	if (at < end)
		memset(p + at, 0, end - at);
}

int core_find_payload(const struct rtpe_payload *list, u8 count, u8 payload_type)
{
	u8 i;

	for (i = 0; i < count && list[i].payload_type <= payload_type; i++)
		if (list[i].payload_type == payload_type)
			return i;
	return -1;
}

int core_find_output_payload(const struct rtpe_output_payload *list, u8 count, u8 payload_type)
{
	u8 i;

	for (i = 0; i < count && list[i].payload_type <= payload_type; i++)
		if (list[i].payload_type == payload_type)
			return i;
	return -1;
}
