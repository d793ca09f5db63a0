// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Loss and jitter of one SSRC (RFC 3550 6.4.1, appendix A), counted exactly as
 * the daemon counts, so that a stream can go from one to the other and back.
 */
#include "core.h"

/* A jump further than this, forwards or backwards, is a new start and not loss. */
#define MAX_JUMP	3000
#define WINDOW		64
/* A pause or a change of the time base is not jitter. */
#define MAX_JITTER_US	5000000

/* The extended number nearest to the highest whose low 16 bits are the sequence number. */
static u64 extend(u64 highest, u16 sequence)
{
	s16 step = (s16)(u16)(sequence - (u16)highest);

	/* Before the first cycle there is nothing behind zero: that is a cycle ahead. */
	if (step < 0 && highest < (u64)-(s64)step)
		return highest + (u16)step;
	return highest + (s64)step;
}

static void account_sequence(struct core_account *a, u16 sequence)
{
	struct rtpe_track *track = &a->track;
	u64 extended = extend(track->highest, sequence);

	if (extended > track->highest) {
		u64 step = extended - track->highest;

		track->highest = extended;
		track->window = step < WINDOW ? track->window << step | 1 : 1;
		if (step > MAX_JUMP)
			track->window = 1;
		else
			a->lost += step - 1;
	} else {
		u64 behind = track->highest - extended;

		if (behind > MAX_JUMP) {
			track->highest = extended;
			track->window = 1;
		} else if (behind >= WINDOW || track->window >> behind & 1) {
			a->duplicates++;
		} else {
			track->window |= 1ull << behind;
			a->lost--;
		}
	}
}

static void account_jitter(struct rtpe_track *track, u32 timestamp, u64 now_us)
{
	s64 media, difference;

	if (!track->clock_rate)
		return;
	media = div_s64((s64)(s32)(timestamp - track->timestamp) * 1000000, (s32)track->clock_rate);
	difference = (s64)(now_us - track->arrival_us) - media;
	if (difference < 0)
		difference = -difference;
	if (difference < MAX_JITTER_US)
		track->jitter_16us += (u64)difference - ((track->jitter_16us + 8) >> 4);
}

/* clock_rate: of the packet's payload type. */
void core_account_rtp(struct core_account *a, const struct core_rtp *rtp, size_t octets,
		      u64 now_us, u32 clock_rate)
{
	struct rtpe_track *track = &a->track;

	a->packets++;
	a->bytes += octets;
	if (!track->started || track->payload_type != rtp->payload_type) {
		track->payload_type = rtp->payload_type;
		track->clock_rate = clock_rate;
	}
	if (!track->started) {
		track->started = 1;
		track->highest = rtp->sequence;
		track->window = 1;
	} else {
		account_jitter(track, rtp->timestamp, now_us);
		account_sequence(a, rtp->sequence);
	}
	track->arrival_us = now_us;
	track->timestamp = rtp->timestamp;
}
