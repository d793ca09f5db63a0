// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Packets that wait for a reader: a queue bounded in packets, octets and time.
 */
#include "core.h"

static struct core_packet *take_first(struct core_queue *q)
{
	struct core_packet *packet = q->first;

	if (!packet)
		return NULL;
	q->first = packet->next;
	if (!q->first)
		q->last = NULL;
	q->packets--;
	q->bytes -= (u64)packet->length + CORE_PACKET_COST;
	packet->next = NULL;
	return packet;
}

static bool is_over(const struct core_queue *q, u64 now_us)
{
	/* The newest packet always fits. */
	if (q->packets <= 1)
		return false;
	return (q->max_packets && q->packets > q->max_packets) ||
	       (q->max_bytes && q->bytes > q->max_bytes) ||
	       /* (a clock that was set back makes nothing old) */
	       (q->max_age_us && now_us > q->first->arrival_us &&
		now_us - q->first->arrival_us > q->max_age_us);
}

struct core_packet *core_queue_push(struct core_queue *q, struct core_packet *packet)
{
	struct core_packet *gone = NULL;

	packet->next = NULL;
	if (q->last)
		q->last->next = packet;
	else
		q->first = packet;
	q->last = packet;
	q->packets++;
	q->bytes += (u64)packet->length + CORE_PACKET_COST;
	while (is_over(q, packet->arrival_us)) {
		struct core_packet *old = take_first(q);

		old->next = gone;
		gone = old;
		q->dropped++;
	}
	return gone;
}

struct core_packet *core_queue_pop(struct core_queue *q)
{
	return take_first(q);
}

static u32 sum(const u8 *p, size_t n, u32 s)
{
	size_t i;

	for (i = 0; i + 1 < n; i += 2) {
		s += core_be16(p + i);
		s = (s & 0xffff) + (s >> 16);
	}
	if (n & 1) {
		s += (u32)p[n - 1] << 8;
		s = (s & 0xffff) + (s >> 16);
	}
	return s;
}

static u16 folded(u32 s)
{
	s = (s & 0xffff) + (s >> 16);
	return (u16)~((s & 0xffff) + (s >> 16));
}

/*
 * The payload may have become shorter (decrypted) since the headers were made.
 * Anything that is not a plain UDP packet stays as it is.
 */
void core_finish_packet(u8 *p, size_t n)
{
	size_t udp, addresses, addresses_n;
	u16 check;

	if (n >= 20 && p[0] >> 4 == 4) {
		udp = 4 * (size_t)(p[0] & 0x0f);
		if (udp < 20 || n < udp + 8 || p[9] != 17)
			return;
		core_put_be16(p + 2, n);
		core_put_be16(p + 10, 0);
		core_put_be16(p + 10, folded(sum(p, udp, 0)));
		addresses = 12;
		addresses_n = 8;
	} else if (n >= 48 && p[0] >> 4 == 6 && p[6] == 17) {
		udp = 40;
		core_put_be16(p + 4, n - udp);
		addresses = 8;
		addresses_n = 32;
	} else {
		return;
	}
	core_put_be16(p + udp + 4, n - udp);
	core_put_be16(p + udp + 6, 0);
	check = folded(sum(p + udp, n - udp, sum(p + addresses, addresses_n, 17 + (u32)(n - udp))));
	core_put_be16(p + udp + 6, check ? check : 0xffff);
}
