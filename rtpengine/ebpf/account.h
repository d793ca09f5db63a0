/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What has been forwarded: numbers, and copies for recordings. */
#ifndef RTPENGINE_ACCOUNT_H
#define RTPENGINE_ACCOUNT_H

#include "forward.h"
#include "kernel.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} TAPS SEC(".maps");

/* As in ssrc.rs. */
#define MAX_JUMP 3000
#define MAX_JITTER_US 5000000
/* The reader of the ring looks every few milliseconds; beyond this it is woken. */
#define MUCH (1 << 20)

/* The same bookkeeping as in ssrc.rs. */
INLINE void count(struct track *track, __u32 length, const __u32 *rtp, __u32 payload_type, __u32 clock_rate)
{
	__u64 now_us = ktime_ns() / 1000;
	__u16 sequence = ntohl(rtp[0]) & 0xffff;
	__u32 timestamp = ntohl(rtp[1]);
	__u64 extended, behind;
	__s16 step;

	spin_lock(&track->lock);
	track->packets++;
	track->octets += length;
	if (track->payload_type != payload_type) {
		track->payload_type = payload_type;
		track->clock_rate = clock_rate;
	}
	if (track->clock_rate) {
		__s32 ticks = timestamp - track->timestamp;
		__u64 media = (__u64)(ticks < 0 ? -(__s64)ticks : ticks) * 1000000 / track->clock_rate;
		__s64 elapsed = now_us - track->arrival_us;
		__s64 difference = elapsed - (ticks < 0 ? -(__s64)media : (__s64)media);

		if (difference < 0)
			difference = -difference;
		if (difference < MAX_JITTER_US)
			track->jitter_16us += difference - (track->jitter_16us + 8) / 16;
	}
	step = sequence - (__u16)track->highest;
	extended = track->highest + step;
	/* Before the first cycle there is nothing behind zero. */
	if (step < 0 && track->highest < (__u64)-(__s64)step)
		extended = track->highest + (__u16)step;
	if (extended > track->highest) {
		__u64 ahead = extended - track->highest;

		track->highest = extended;
		if (ahead > MAX_JUMP) {
			track->window = 1;
		} else {
			track->window = ahead < 64 ? track->window << ahead | 1 : 1;
			track->lost += ahead - 1;
		}
	} else {
		behind = track->highest - extended;
		if (behind > MAX_JUMP) {
			track->highest = extended;
			track->window = 1;
		} else if (behind >= 64 || track->window >> (behind & 63) & 1) {
			track->duplicates++;
		} else {
			track->window |= 1ull << (behind & 63);
			track->lost--;
		}
	}
	track->arrival_us = now_us;
	track->timestamp = timestamp;
	spin_unlock(&track->lock);
}

/* The size of a record has to be known when the program is loaded. */
#define RECORD(room)                                                                                                   \
	struct {                                                                                                       \
		struct record head;                                                                                    \
		__u8 payload[room];                                                                                    \
	} *record = ringbuf_reserve(&TAPS, sizeof(*record), 0);                                                        \
	if (!record)                                                                                                   \
		goto lost;                                                                                             \
	head = &record->head;                                                                                          \
	/* Kernel 6.1 sees bounds in this form only. */                                                                \
	length = ((place->length - 1) & (room - 1)) + 1;                                                               \
	if (load_bytes(skb, place->payload, record->payload, length)) {                                                \
		ringbuf_discard(record, BPF_RB_NO_WAKEUP);                                                             \
		goto lost;                                                                                             \
	}                                                                                                              \
	describe(head, place, target, output, flags, leaves_as, is_rtp);                                               \
	ringbuf_submit(record, wake)

INLINE void describe(struct record *head, const struct place *place, const struct target *target,
		     const struct output *output, __u32 flags, __u8 leaves_as, __u8 is_rtp)
{
	head->recording_in = target->recording;
	head->stream_in = target->stream;
	head->recording_out = output->recording;
	head->stream_out = output->stream;
	head->time_ns = ktime_ns();
	head->source = place->source;
	head->local = place->local;
	head->from = output->from;
	head->to = output->to;
	head->flags = flags;
	head->ssrc_mask = output->ssrc_mask;
	head->length = place->length;
	head->is_rtp = is_rtp;
	head->leaves_as = leaves_as;
	head->reserved = 0;
}

/* A copy for the daemon; it looks for them by itself. */
INLINE void tap(struct __sk_buff *skb, const struct place *place, struct target *target, const struct output *output,
		__u32 flags, __u8 leaves_as, __u8 is_rtp)
{
	__u64 wake = ringbuf_query(&TAPS, BPF_RB_AVAIL_DATA) > MUCH ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	struct record *head;
	__u32 length;

	if (!place->length || place->length > LARGE_PAYLOAD)
		goto lost;
	if (place->length <= SMALL_PAYLOAD) {
		RECORD(SMALL_PAYLOAD);
	} else {
		RECORD(LARGE_PAYLOAD);
	}
	return;
lost:
	__sync_fetch_and_add(&target->tap_lost, 1);
}

#endif
