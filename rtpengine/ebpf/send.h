/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A packet is given its new headers and leaves. */
#ifndef RTPENGINE_SEND_H
#define RTPENGINE_SEND_H

#include "forward.h"
#include "kernel.h"
#include "packet.h"

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

INLINE __u32 fold16(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* Words of an address that is not there count nothing; their complements would. */
INLINE __u64 address_difference(const struct place *place, const struct output *output, int to_v6)
{
	const __u32 *source = (const void *)place->source.address, *local = (const void *)place->local.address;
	const __u32 *from = (const void *)output->from.address, *to = (const void *)output->to.address;
	__u64 sum = (__u64)from[0] + to[0] + (__u32)~source[0] + (__u32)~local[0];

	if (to_v6) {
#pragma unroll
		for (int i = 1; i < 4; i++)
			sum += (__u64)from[i] + to[i];
	}
	if (place->local.family != 4) {
#pragma unroll
		for (int i = 1; i < 4; i++)
			sum += (__u64)(__u32)~source[i] + (__u32)~local[i];
	}
	return sum;
}

/* What the checksum has still to change by, and what tells whether it has to. */
struct settling {
	__u32 by;     /* the addresses' part, which the kernel has been asked to put in; 0: no more is to be done */
	__u64 others; /* that of ports and payload */
};

/*
 * The checksum of a packet that a process of this host sends is made by the device; until then its place has the sum of the addresses, which
 * nothing else is to be added to. The kernel does not tell which of the two it is, but it has added the addresses' difference to such a
 * sum, and subtracted it from a checksum.
 */
INLINE void settle(struct udphdr *udp, const struct place *place, const struct settling *settling)
{
	__u32 now = udp->check, made;

	if (!settling->by || (place->check + settling->by + 0xffff - now) % 0xffff == 0)
		return;
	made = ~fold16(settling->others + (__u16)~now) & 0xffff;
	udp->check = made ? made : 0xffff;
}

INLINE int write_v4(struct __sk_buff *skb, const struct place *place, const struct output *output,
		    const struct settling *settling)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u64 sum = 0;

	if ((void *)(udp + 1) > end)
		return -1;
	eth->h_proto = htons(ETH_P_IP);
	*(__u8 *)ip = 0x45;
	ip->tot_len = htons((__u16)(sizeof(*ip) + sizeof(*udp) + place->length));
	ip->protocol = IPPROTO_UDP;
	ip->tos = output->tos;
	ip->id = 0;
	ip->frag_off = htons(0x4000);
	ip->ttl = output->ttl;
	__builtin_memcpy(&ip->saddr, output->from.address, 4);
	__builtin_memcpy(&ip->daddr, output->to.address, 4);
	ip->check = 0;
#pragma unroll
	for (int i = 0; i < 5; i++)
		sum += ((__u32 *)ip)[i];
	ip->check = ~fold16(sum);
	udp->source = output->from.port;
	udp->dest = output->to.port;
	settle(udp, place, settling);
	return 0;
}

INLINE int write_v6(struct __sk_buff *skb, const struct place *place, const struct output *output,
		    const struct settling *settling)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end)
		return -1;
	eth->h_proto = htons(ETH_P_IPV6);
	((__u8 *)ip)[0] = 0x60 | output->tos >> 4;
	((__u8 *)ip)[1] = output->tos << 4;
	((__u8 *)ip)[2] = 0;
	((__u8 *)ip)[3] = 0;
	ip->payload_len = htons((__u16)(sizeof(*udp) + place->length));
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = output->ttl;
	__builtin_memcpy(&ip->saddr, output->from.address, 16);
	__builtin_memcpy(&ip->daddr, output->to.address, 16);
	udp->source = output->from.port;
	udp->dest = output->to.port;
	settle(udp, place, settling);
	return 0;
}

/* The packet has been counted: what fails from here on, which takes a lack of memory, is lost. */
INLINE int send(struct __sk_buff *skb, const struct place *place, const struct output *output, __u8 leaves_as, int is_rtp)
{
	__u32 was_ports = place->source.port | (__u32)place->local.port << 16;
	__u32 ports = output->from.port | (__u32)output->to.port << 16;
	__u64 others = difference(0, was_ports, ports);
	__u32 check = place->l4 + __builtin_offsetof(struct udphdr, check);
	int to_v6 = output->to.family == 6;
	struct settling settling = {};

	if (is_rtp) {
		void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
		__u32 *rtp = data + place->payload;

		if ((void *)(rtp + 3) > end)
			return TC_ACT_SHOT;
		if (leaves_as != (((__u8 *)rtp)[1] & 0x7f)) {
			__u32 before = rtp[0];

			((__u8 *)rtp)[1] = (((__u8 *)rtp)[1] & 0x80) | leaves_as;
			others = difference(others, before, rtp[0]);
		}
		if (output->ssrc_mask) {
			others = difference(others, rtp[2], rtp[2] ^ output->ssrc_mask);
			rtp[2] ^= output->ssrc_mask;
		}
	}
	/* IPv4 may do without. */
	if (place->check) {
		__u32 addresses = fold(address_difference(place, output, to_v6));

		l4_csum_replace(skb, check, 0, addresses, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
		settling.by = fold16(addresses);
		settling.others = others;
		/* Nothing was added that could tell. */
		if (settling.by == 0 || settling.by == 0xffff) {
			l4_csum_replace(skb, check, 0, fold(others), BPF_F_MARK_MANGLED_0);
			settling.by = 0;
		}
	}
	if (place->local.family != output->to.family && change_proto(skb, htons(to_v6 ? ETH_P_IPV6 : ETH_P_IP), 0))
		return TC_ACT_SHOT;
	if (to_v6 ? write_v6(skb, place, output, &settling) : write_v4(skb, place, output, &settling))
		return TC_ACT_SHOT;
	/* On lo the stack delivers it. */
	if (output->flags & OUTPUT_STAYS_HERE)
		return GO_ON;
	/* Who is next is known: the neighbour is looked up, the route is not. */
	if (output->next_hop.nh_family)
		return redirect_neigh(output->ifindex, &output->next_hop, sizeof(output->next_hop), 0);
	return redirect_neigh(output->ifindex, 0, 0, 0);
}

#endif
