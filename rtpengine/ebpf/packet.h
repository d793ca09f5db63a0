/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a packet is, from its headers. */
#ifndef RTPENGINE_PACKET_H
#define RTPENGINE_PACKET_H

#include "forward.h"
#include "kernel.h"

/* Where things are in a packet. */
struct place {
	__u32 l3, l4, payload;
	__u32 length; /* of the UDP payload */
	struct endpoint source, local;
	__be16 check;
};

INLINE int same(const struct endpoint *a, const struct endpoint *b)
{
	const __u64 *x = (const void *)a, *y = (const void *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
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
	place->check = udp->check;
	place->source.port = udp->source;
	place->local.port = udp->dest;
	place->payload = place->l4 + sizeof(*udp);
	place->length = l4_length - sizeof(*udp);
	return place->payload + place->length <= skb->len ? 0 : -1;
}

/* RFC 7983, from the first octet. */
enum kind { KIND_MEDIA, KIND_STUN, KIND_DTLS, KIND_GARBAGE };

INLINE enum kind kind_of(__u8 first)
{
	if (first >> 6 == 2)
		return KIND_MEDIA;
	if (first < 4)
		return KIND_STUN;
	return first >= 20 && first < 64 ? KIND_DTLS : KIND_GARBAGE;
}

#endif
