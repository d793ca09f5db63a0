// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Loss and jitter of one SSRC (RFC 3550 appendix A, with a field of bits
 * instead of a count, so that late packets are not counted as lost).
 */
#include "core.h"

#define FIELD		32
#define MAX_STEP	0x100
#define MIN_LATE	0xfeff

static void account_sequence(struct core_account *a, u16 sequence)
{
	u16 step = sequence - (u16)a->extended;

	if (!a->started) {
		a->started = true;
		a->extended |= sequence;
		a->loss_field = ~0u;
		return;
	}
	if (!step)
		return;
	if (step >= MIN_LATE) {
		u16 behind = -step;

		if (behind < FIELD)
			a->loss_field |= 1u << behind;
		return;
	}
	if (step > MAX_STEP) {
		/* Another numbering: nothing is known about what came before. */
		a->extended = (a->extended & ~0xffffull) | sequence;
		a->loss_field = ~0u;
		return;
	}
	a->extended += step;
	if (step >= FIELD) {
		a->lost += FIELD - hweight32(a->loss_field) + (step - FIELD);
		a->loss_field = 1;
		return;
	}
	a->lost += step - hweight32(a->loss_field >> (FIELD - step));
	a->loss_field = a->loss_field << step | 1;
}

void core_account_rtp(struct core_account *a, const struct core_rtp *rtp, size_t payload,
		      u64 now_us, u32 clock_rate)
{
	a->packets++;
	a->bytes += payload;
	a->last_packet_us = now_us;
	account_sequence(a, rtp->sequence);
	if (clock_rate) {
		/* Whole seconds apart: the product of all would overflow. */
		u64 seconds = now_us / 1000000u;
		u32 rest = (u32)(now_us - seconds * 1000000u);
		u32 arrival = (u32)(seconds * clock_rate) +
			      (u32)((u64)rest * clock_rate / 1000000u);
		u32 transit = arrival - rtp->timestamp;

		if (a->timed && rtp->payload_type == a->last_payload_type) {
			s32 d = (s32)(transit - a->transit);

			if (d < 0)
				d = d == -2147483647 - 1 ? 2147483647 : -d;
			a->jitter += (u32)d - ((a->jitter + 8) >> 4);
		}
		a->transit = transit;
		a->timed = true;
	}
	a->last_timestamp = rtp->timestamp;
	a->last_payload_type = rtp->payload_type;
}
