// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Forwards established media streams where their packets come in (tc ingress).
 *
 * A packet is either forwarded and counted, or left alone for the daemon's socket; packets of strangers are let through to the daemon
 * at a limited rate and dropped beyond it. See rtpengine/src/media/offload.
 */
#include "forward.h"

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define htons(x) ((__be16)__builtin_bswap16(x))
#define ntohl(x) __builtin_bswap32(x)
#else
#define htons(x) ((__be16)(x))
#define ntohl(x) (x)
#endif
#define ntohs htons

static void *(*map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*ktime_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*pull_data)(struct __sk_buff *skb, __u32 len) = (void *)BPF_FUNC_skb_pull_data;
static long (*load_bytes)(const void *skb, __u32 offset, void *to, __u32 len) = (void *)BPF_FUNC_skb_load_bytes;
static long (*l4_csum_replace)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 flags) =
	(void *)BPF_FUNC_l4_csum_replace;
static long (*redirect_neigh)(__u32 ifindex, void *params, int plen, __u64 flags) = (void *)BPF_FUNC_redirect_neigh;
static void *(*ringbuf_reserve)(void *ringbuf, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*ringbuf_submit)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;
static void (*ringbuf_discard)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_discard;
static __u64 (*ringbuf_query)(void *ringbuf, __u64 what) = (void *)BPF_FUNC_ringbuf_query;
static long (*spin_lock)(struct bpf_spin_lock *lock) = (void *)BPF_FUNC_spin_lock;
static long (*spin_unlock)(struct bpf_spin_lock *lock) = (void *)BPF_FUNC_spin_unlock;

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

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} TAPS SEC(".maps");

/* The next program, or the stack, has the packet; with tcx and with clsact. */
#define GO_ON TC_ACT_UNSPEC

/* Packets of others that go up, at once and a second. */
#define BURST 64
#define PER_SECOND 64
#define SECOND_NS 1000000000ull
/* As in ssrc.rs. */
#define MAX_JUMP 3000
#define MAX_JITTER_US 5000000
/* The reader of the ring looks every few milliseconds; beyond this it is woken. */
#define MUCH (1 << 20)

/* Where things are in a packet. */
struct place {
	__u32 l3, l4, payload;
	__u32 length; /* of the UDP payload */
	struct endpoint source, local;
};

INLINE int same(const struct endpoint *a, const struct endpoint *b)
{
	const __u64 *x = (const void *)a->address, *y = (const void *)b->address;

	return a->port == b->port && a->family == b->family && x[0] == y[0] && x[1] == y[1];
}

/* Header offsets and addresses, or nothing that concerns us. */
INLINE int parse(struct __sk_buff *skb, struct place *place)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct udphdr *udp;
	struct ethhdr *eth = data;
	__u32 l4_length;

	if ((void *)(eth + 1) > end)
		return -1;
	place->l3 = sizeof(*eth);
	if (eth->h_proto == htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_UDP)
			return -1;
		/* More fragments, or not the first one. */
		if (ip->frag_off & htons(0x3fff))
			return -1;
		l4_length = ntohs(ip->tot_len) - sizeof(*ip);
		place->l4 = place->l3 + sizeof(*ip);
		place->source.family = place->local.family = 4;
		*(__be32 *)place->source.address = ip->saddr;
		*(__be32 *)place->local.address = ip->daddr;
		udp = (void *)(ip + 1);
	} else if (eth->h_proto == htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_UDP)
			return -1;
		l4_length = ntohs(ip->payload_len);
		place->l4 = place->l3 + sizeof(*ip);
		place->source.family = place->local.family = 6;
		__builtin_memcpy(place->source.address, &ip->saddr, 16);
		__builtin_memcpy(place->local.address, &ip->daddr, 16);
		udp = (void *)(ip + 1);
	} else {
		return -1;
	}
	if ((void *)(udp + 1) > end || l4_length < sizeof(*udp) || ntohs(udp->len) != l4_length)
		return -1;
	place->source.port = udp->source;
	place->local.port = udp->dest;
	place->payload = place->l4 + sizeof(*udp);
	place->length = l4_length - sizeof(*udp);
	return place->payload + place->length <= skb->len ? 0 : -1;
}

/* A packet that may go up only while there are tokens. */
INLINE int stranger(struct target *target)
{
	__u64 now = ktime_ns(), since = now - target->refilled_ns;

	if (target->flags & TARGET_PINNED)
		goto drop;
	/* Two processors may both refill or both take the last one: a few packets more. */
	if (since >= SECOND_NS / PER_SECOND) {
		__u64 tokens = target->tokens + since / (SECOND_NS / PER_SECOND);

		target->refilled_ns = now;
		target->tokens = tokens > BURST ? BURST : tokens;
	}
	if (target->tokens) {
		target->tokens--;
		return GO_ON;
	}
drop:
	__sync_fetch_and_add(&target->wrong_source, 1);
	return TC_ACT_SHOT;
}

/* Neither RTP, RTCP, STUN nor DTLS (RFC 7983). */
INLINE int is_garbage(__u8 first)
{
	return !(first < 4 || (first >= 20 && first < 64) || (first >= 128 && first < 192));
}

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
	describe(head, place, target, leaves_as, is_rtp);                                                              \
	ringbuf_submit(record, flags)

INLINE void describe(struct record *head, const struct place *place, const struct target *target, __u8 leaves_as,
		     __u8 is_rtp)
{
	head->recording_in = target->recording_in;
	head->stream_in = target->stream_in;
	head->recording_out = target->recording_out;
	head->stream_out = target->stream_out;
	head->time_ns = ktime_ns();
	head->source = place->source;
	head->local = place->local;
	head->from = target->from;
	head->to = target->to;
	head->flags = target->flags;
	head->ssrc_mask = target->ssrc_mask;
	head->length = place->length;
	head->is_rtp = is_rtp;
	head->leaves_as = leaves_as;
	head->reserved = 0;
}

/* A copy for the daemon; it looks for them by itself. */
INLINE void tap(struct __sk_buff *skb, const struct place *place, struct target *target, __u8 leaves_as, __u8 is_rtp)
{
	__u64 flags = ringbuf_query(&TAPS, BPF_RB_AVAIL_DATA) > MUCH ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
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

/* What a checksum changes by when `from` becomes `to`, unfolded. */
INLINE __u64 difference(__u64 sum, __u32 from, __u32 to)
{
	return sum + (__u32)~from + to;
}

INLINE __u32 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* From here on nothing can fail: the headers lie in front of data_end, and the packet has been counted. */
INLINE int send(struct __sk_buff *skb, const struct place *place, const struct target *target, __u8 leaves_as, int is_rtp)
{
	const __u32 *old_source = (const void *)place->source.address, *old_local = (const void *)place->local.address;
	const __u32 *from = (const void *)target->from.address, *to = (const void *)target->to.address;
	__u64 addresses = 0, others = 0;
	__u32 changed_ports[2];
	void *data, *end;
	struct udphdr *udp;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (i && place->local.family == 4)
			break;
		addresses = difference(addresses, old_source[i], from[i]);
		addresses = difference(addresses, old_local[i], to[i]);
	}
	changed_ports[0] = place->source.port | (__u32)place->local.port << 16;
	changed_ports[1] = target->from.port | (__u32)target->to.port << 16;
	others = difference(0, changed_ports[0], changed_ports[1]);
	if (is_rtp) {
		__u32 *rtp;

		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		rtp = data + place->payload;
		if ((void *)(rtp + 3) > end)
			return TC_ACT_SHOT;
		if (leaves_as != (((__u8 *)rtp)[1] & 0x7f)) {
			__u32 before = rtp[0];

			((__u8 *)rtp)[1] = (((__u8 *)rtp)[1] & 0x80) | leaves_as;
			others = difference(others, before, rtp[0]);
		}
		if (target->ssrc_mask) {
			others = difference(others, rtp[2], rtp[2] ^ target->ssrc_mask);
			rtp[2] ^= target->ssrc_mask;
		}
	}
	l4_csum_replace(skb, place->l4 + __builtin_offsetof(struct udphdr, check), 0, fold(addresses),
			BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
	l4_csum_replace(skb, place->l4 + __builtin_offsetof(struct udphdr, check), 0, fold(others), BPF_F_MARK_MANGLED_0);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (place->local.family == 4) {
		struct iphdr *ip = data + sizeof(struct ethhdr);
		__u32 sum = 0;

		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end)
			return TC_ACT_SHOT;
		ip->tos = target->tos;
		ip->id = 0;
		ip->frag_off = htons(0x4000);
		ip->ttl = target->ttl;
		ip->saddr = from[0];
		ip->daddr = to[0];
		ip->check = 0;
#pragma unroll
		for (int i = 0; i < 10; i++)
			sum += ((__u16 *)ip)[i];
		sum = (sum & 0xffff) + (sum >> 16);
		ip->check = ~((sum & 0xffff) + (sum >> 16));
	} else {
		struct ipv6hdr *ip = data + sizeof(struct ethhdr);

		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end)
			return TC_ACT_SHOT;
		((__u8 *)ip)[0] = 0x60 | target->tos >> 4;
		((__u8 *)ip)[1] = target->tos << 4;
		((__u8 *)ip)[2] = 0;
		((__u8 *)ip)[3] = 0;
		ip->hop_limit = target->ttl;
		__builtin_memcpy(&ip->saddr, from, 16);
		__builtin_memcpy(&ip->daddr, to, 16);
	}
	udp->source = target->from.port;
	udp->dest = target->to.port;
	/* On lo the stack delivers it. */
	return target->flags & TARGET_STAYS_HERE ? GO_ON : redirect_neigh(target->ifindex, 0, 0, 0);
}

SEC("classifier")
int rtpengine(struct __sk_buff *skb)
{
	struct place place = {};
	struct track_key key = {};
	const struct format *format = 0;
	struct target *target;
	struct track *track;
	__u32 rtp[3] = {};
	__u8 payload_type;

	/* Tagged frames come by again on their VLAN's interface. */
	if (skb->vlan_present || skb->gso_segs > 1)
		return GO_ON;
	/* The longest headers, those of RTP over IPv6. */
	if ((void *)(long)skb->data + 74 > (void *)(long)skb->data_end && pull_data(skb, skb->len < 74 ? skb->len : 74))
		return GO_ON;
	if (parse(skb, &place))
		return GO_ON;
	target = map_lookup(&TARGETS, &place.local);
	if (!target)
		return GO_ON;
	key.target = target->id;
	if (place.length < 12) {
		/* RTCP of eight octets is the shortest of all. */
		if (!(target->flags & TARGET_ANY_SOURCE) && !same(&place.source, &target->source))
			return stranger(target);
		if (!(target->flags & TARGET_DATAGRAMS))
			return GO_ON;
	} else if (load_bytes(skb, place.payload, rtp, sizeof(rtp))) {
		return GO_ON;
	}
	if (!(target->flags & TARGET_ANY_SOURCE) && !same(&place.source, &target->source)) {
		if (target->flags & (TARGET_PINNED | TARGET_DATAGRAMS))
			return stranger(target);
		/* Whoever knows the SSRC may be the party, which has moved. */
		key.ssrc = ntohl(rtp[2]);
		return map_lookup(&TRACKS, &key) ? GO_ON : stranger(target);
	}
	if (target->flags & TARGET_GUARD)
		return GO_ON;
	if (target->flags & TARGET_DATAGRAMS) {
		key.ssrc = 0;
		track = map_lookup(&TRACKS, &key);
		if (!track || place.payload + place.length - place.l3 > target->mtu)
			return GO_ON;
		if (target->flags & (TARGET_TAP_INGRESS | TARGET_TAP_EGRESS))
			tap(skb, &place, target, 0, 0);
		spin_lock(&track->lock);
		track->packets++;
		track->octets += place.length;
		spin_unlock(&track->lock);
		__sync_lock_test_and_set(&track->arrival_us, ktime_ns() / 1000);
		return send(skb, &place, target, 0, 0);
	}
	if (is_garbage(((__u8 *)rtp)[0]))
		return stranger(target);
	payload_type = ((__u8 *)rtp)[1];
	/* STUN and DTLS; RTCP (RFC 5761). */
	if (((__u8 *)rtp)[0] >> 6 != 2 || (payload_type >= 192 && payload_type < 224))
		return GO_ON;
	payload_type &= 0x7f;
	for (int i = 0; i < MAX_FORMATS && i < target->formats_used; i++) {
		if (target->formats[i].payload_type == payload_type) {
			format = &target->formats[i];
			break;
		}
	}
	if (!format || place.payload + place.length - place.l3 > target->mtu)
		return GO_ON;
	key.ssrc = ntohl(rtp[2]);
	track = map_lookup(&TRACKS, &key);
	if (!track)
		return GO_ON;
	if (target->flags & (TARGET_TAP_INGRESS | TARGET_TAP_EGRESS))
		tap(skb, &place, target, format->leaves_as, 1);
	count(track, place.length, rtp, payload_type, format->clock_rate);
	return send(skb, &place, target, format->leaves_as, 1);
}

char LICENSE[] SEC("license") = "GPL";
