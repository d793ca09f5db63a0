/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shield: of what comes to a media port from others than those who are expected there, so much goes up that the daemon can find a
 * party that is new or has moved; the rest is dropped.
 */
#ifndef RTPENGINE_SHIELD_H
#define RTPENGINE_SHIELD_H

#include "forward.h"
#include "kernel.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct endpoint);
	__type(value, struct guard);
} GUARDS SEC(".maps");

/* Of ports to which others have sent; made here, deleted by the daemon with the guard. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct endpoint);
	__type(value, struct spray);
} SPRAYS SEC(".maps");

/* When something was dropped last, about. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} DROPPED_AT SEC(".maps");

/* A source at a port that nobody in particular is expected at. */
struct newcomer {
	struct endpoint local, source;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 15);
	__type(key, struct newcomer);
	__type(value, struct bucket);
} NEWCOMERS SEC(".maps");

/* Packets a second, and at once. One stream of 20 Mbit/s has no more than that. */
#define OF_ONE_SOURCE 2048
#define OF_OPEN_PORT (2 * OF_ONE_SOURCE)
#define NEW_SOURCES 512
#define OF_STRANGERS 64
#define WITH_SSRC 1024
#define OF_STUN 256
#define OF_DTLS 64

#define NOTE_PAUSE_NS 100000000ull

/* Two processors may both refill or both take the last one: a few packets more. */
INLINE int take(struct bucket *bucket, __u64 now, __u64 rate)
{
	__u64 since = now - bucket->refilled_ns, pause = SECOND_NS / rate;

	if (since >= SECOND_NS) {
		bucket->refilled_ns = now;
		bucket->tokens = rate;
	} else if (since >= pause) {
		__u64 tokens = bucket->tokens + since / pause;

		bucket->refilled_ns = now;
		bucket->tokens = tokens > rate ? rate : tokens;
	}
	if (!bucket->tokens)
		return 0;
	bucket->tokens--;
	return 1;
}

INLINE struct spray *spray_of(const struct endpoint *local, __u32 id)
{
	struct spray *spray = map_lookup(&SPRAYS, local);
	struct spray new = {};

	/* It may be of one who had the port before. */
	if (spray && spray->id == id)
		return spray;
	new.id = id;
	map_update(&SPRAYS, local, &new, BPF_ANY);
	return map_lookup(&SPRAYS, local);
}

INLINE int dropped(__u64 *counter, __u64 now)
{
	__u32 zero = 0;
	__u64 *at = map_lookup(&DROPPED_AT, &zero);

	__sync_fetch_and_add(counter, 1);
	if (at && now - *at > NOTE_PAUSE_NS)
		*at = now;
	return TC_ACT_SHOT;
}

/* Nobody in particular is expected: each source may send as much as a stream, so that none keeps the party from being heard. */
INLINE int newcomer(const struct place *place, struct spray *spray, __u64 now)
{
	struct newcomer key = { .local = place->local, .source = place->source };
	struct bucket *own = map_lookup(&NEWCOMERS, &key);

	if (own) {
		if (!take(own, now, OF_ONE_SOURCE))
			return 0;
	} else {
		struct bucket full = { .refilled_ns = now, .tokens = OF_ONE_SOURCE };

		if (!take(&spray->new_sources, now, NEW_SOURCES))
			return 0;
		map_update(&NEWCOMERS, &key, &full, BPF_ANY);
	}
	return take(&spray->newcomers, now, OF_OPEN_PORT);
}

/* Whoever knows the SSRC may be the party, which has moved. */
INLINE int knows_ssrc(const struct guard *guard, __u32 ssrc)
{
#pragma unroll
	for (__u32 i = 0; i < GUARD_SSRCS; i++) {
		if (i < guard->ssrcs_used && guard->ssrcs[i] == ssrc)
			return 1;
	}
	return 0;
}

/* A packet that is not forwarded here: to the daemon, or nowhere. */
INLINE int shield(struct __sk_buff *skb, const struct place *place, const __u32 *rtp)
{
	const struct guard *guard = map_lookup(&GUARDS, &place->local);
	enum kind kind = KIND_MEDIA;
	struct spray *spray;
	__u8 first = 0;
	__u64 now;

	if (!guard)
		return GO_ON;
	if (!(guard->flags & GUARD_DATAGRAMS)) {
		/* An empty datagram is garbage as well. */
		if (!place->length || load_bytes(skb, place->payload, &first, 1))
			kind = KIND_GARBAGE;
		else
			kind = kind_of(first);
	}
	if (kind != KIND_GARBAGE) {
#pragma unroll
		for (int i = 0; i < GUARD_SOURCES; i++) {
			if (same(&guard->sources[i], &place->source))
				return GO_ON;
		}
	}
	spray = spray_of(&place->local, guard->id);
	if (!spray)
		return GO_ON;
	now = ktime_ns();
	if (kind == KIND_STUN && take(&spray->stun, now, OF_STUN))
		return GO_ON;
	if (kind == KIND_DTLS && take(&spray->dtls, now, OF_DTLS))
		return GO_ON;
	if (guard->flags & GUARD_OPEN)
		return newcomer(place, spray, now) ? GO_ON : dropped(&spray->over_budget, now);
	if (kind == KIND_STUN || kind == KIND_DTLS)
		return dropped(&spray->over_budget, now);
	if (!(guard->flags & GUARD_PINNED)) {
		if (kind == KIND_MEDIA && place->length >= 12 && knows_ssrc(guard, ntohl(rtp[2])) &&
		    take(&spray->with_ssrc, now, WITH_SSRC))
			return GO_ON;
		if (take(&spray->strangers, now, OF_STRANGERS))
			return GO_ON;
	}
	return dropped(&spray->wrong_source, now);
}

#endif
