// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Forwards established media streams where their packets come in (tc ingress).
 *
 * A packet is either forwarded and counted, or left for the daemon's socket, which the shield keeps from floods. See
 * rtpengine/src/media/offload.
 */
#include "account.h"
#include "forward.h"
#include "kernel.h"
#include "packet.h"
#include "send.h"
#include "shield.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct endpoint);
	__type(value, struct target);
} TARGETS SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct track_key);
	__type(value, struct track);
} TRACKS SEC(".maps");

/* Of each target the track of one SSRC, that of the usual packet, which is found without a hash. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct track);
} FIRST_TRACKS SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct output_key);
	__type(value, struct output);
} OUTPUTS SEC(".maps");

/* Not forwarded. */
#define GOES_UP -2

/*
 * A packet for several outputs comes by once for each: a copy of it, as it came, is put where it came in, with this mark and the number
 * of the output. (What is redirected with a neighbour to be found cannot be a copy.)
 */
#define COPY_MARK 0x52540000
#define COPY_NUMBER 0xff
#define LOOPBACK 1

INLINE int is_copy(const struct __sk_buff *skb)
{
	return (skb->mark & ~COPY_NUMBER) == COPY_MARK;
}

/* Makes the copies; those that fail are counted. */
INLINE void copy(struct __sk_buff *skb, const struct target *target)
{
	/* What is put into the ingress loses its route, without which the stack does not take 127.0.0.1. */
	__u64 flags = skb->ifindex == LOOPBACK ? 0 : BPF_F_INGRESS;
	struct output_key key = { .target = target->id };
	__u32 mark = skb->mark;

	for (__u32 i = 1; i < MAX_OUTPUTS; i++) {
		if (i >= target->outputs_used)
			break;
		skb->mark = COPY_MARK | i;
		if (clone_redirect(skb, skb->ifindex, flags)) {
			struct output *output;

			key.index = i;
			output = map_lookup(&OUTPUTS, &key);
			if (output)
				__sync_fetch_and_add(&output->failed, 1);
		}
	}
	skb->mark = mark;
}

INLINE struct track *track_of(const struct target *target, __u32 ssrc)
{
	struct track_key key = { .target = target->id, .ssrc = ssrc };
	__u32 slot = target->slot;

	if (slot && target->ssrc == ssrc)
		return map_lookup(&FIRST_TRACKS, &slot);
	return map_lookup(&TRACKS, &key);
}

/* The way of a packet, or a copy of one, that the target takes. */
INLINE int leave(struct __sk_buff *skb, const struct place *place, struct target *target, __u32 format, int is_rtp,
		 int copied)
{
	struct output *output = &target->first;
	__u32 record = target->flags & TARGET_TAP ? RECORD_INGRESS : 0;

	if (copied) {
		struct output_key key = { .target = target->id, .index = skb->mark & COPY_NUMBER };

		output = map_lookup(&OUTPUTS, &key);
		if (!output)
			return TC_ACT_SHOT;
		skb->mark = 0;
		record = 0;
	} else if (target->outputs_used > 1) {
		copy(skb, target);
	}
	if (output->flags & OUTPUT_TAP)
		record |= RECORD_EGRESS;
	if (record)
		tap(skb, place, target, output, record, output->leaves_as[format & (MAX_FORMATS - 1)], is_rtp);
	return send(skb, place, output, output->leaves_as[format & (MAX_FORMATS - 1)], is_rtp);
}

INLINE int forward(struct __sk_buff *skb, const struct place *place, __u32 *rtp)
{
	struct target *target = map_lookup(&TARGETS, &place->local);
	int copied = is_copy(skb);
	struct track *track;
	__u32 format = MAX_FORMATS;
	__u8 payload_type;

	if (!target || (target->flags & TARGET_LEAVING && !copied))
		return GOES_UP;
	if (!(target->flags & TARGET_ANY_SOURCE) && !same(&place->source, &target->source))
		return GOES_UP;
	if (place->length > target->room)
		return GOES_UP;
	/* IPv6 has no packets without a checksum. */
	if (target->flags & TARGET_TRANSLATED && !place->check)
		return GOES_UP;
	if (target->flags & TARGET_DATAGRAMS) {
		track = track_of(target, 0);
		if (!track)
			return GOES_UP;
		if (!copied) {
			spin_lock(&track->lock);
			track->packets++;
			track->octets += place->length;
			spin_unlock(&track->lock);
			__sync_lock_test_and_set(&track->arrival_us, ktime_ns() / 1000);
		}
		return leave(skb, place, target, 0, 0, copied);
	}
	payload_type = ((__u8 *)rtp)[1];
	/* STUN and DTLS; RTCP (RFC 5761), of which eight octets are the least. */
	if (place->length < 12 || kind_of(((__u8 *)rtp)[0]) != KIND_MEDIA || (payload_type >= 192 && payload_type < 224))
		return GOES_UP;
	payload_type &= 0x7f;
	for (__u32 i = 0; i < MAX_FORMATS && i < target->formats_used; i++) {
		if (target->formats[i].payload_type == payload_type) {
			format = i;
			break;
		}
	}
	if (format >= MAX_FORMATS)
		return GOES_UP;
	track = track_of(target, ntohl(rtp[2]));
	if (!track)
		return GOES_UP;
	if (!copied)
		count(track, place->length, rtp, payload_type, target->formats[format].clock_rate);
	return leave(skb, place, target, format, 1, copied);
}

SEC("classifier")
int rtpengine(struct __sk_buff *skb)
{
	struct place place = {};
	__u32 rtp[3] = {};
	int result;

	/* Tagged frames come by again on their VLAN's interface. */
	if (skb->vlan_present || skb->gso_segs > 1)
		return GO_ON;
	/* The longest headers, those of RTP over IPv6. */
	if ((void *)(long)skb->data + 74 > (void *)(long)skb->data_end && pull_data(skb, skb->len < 74 ? skb->len : 74))
		return GO_ON;
	if (parse(skb, &place))
		return GO_ON;
	if (place.length >= 12) {
		void *data = (void *)(long)skb->data;
		const __u32 *head = data + place.payload;

		/* Pulled above. */
		if ((void *)(head + 3) > (void *)(long)skb->data_end)
			return GO_ON;
		rtp[0] = head[0];
		rtp[1] = head[1];
		rtp[2] = head[2];
	}
	result = forward(skb, &place, rtp);
	if (result != GOES_UP)
		return result;
	/* The packet that it is a copy of has been forwarded; meanwhile the target has gone. */
	return is_copy(skb) ? TC_ACT_SHOT : shield(skb, &place, rtp);
}

char LICENSE[] SEC("license") = "GPL";
