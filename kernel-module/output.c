// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From a UDP payload to the wire: route, UDP and IP header, local output.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <net/dst.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/route.h>
#include <net/udp.h>

#include "module.h"

static struct dst_entry *route4(const struct rtpe_output *output, struct net *net)
{
	struct flowi4 flow = {
		.flowi4_proto	= IPPROTO_UDP,
		.fl4_sport	= htons(output->source.port),
		.fl4_dport	= htons(output->destination.port),
	};
	struct rtable *route;

	memcpy(&flow.saddr, output->source.ip, 4);
	memcpy(&flow.daddr, output->destination.ip, 4);
	route = ip_route_output_flow(net, &flow, NULL);
	return IS_ERR(route) ? ERR_CAST(route) : &route->dst;
}

static struct dst_entry *route6(const struct rtpe_output *output, struct net *net)
{
	struct flowi6 flow = {
		.flowi6_proto	= IPPROTO_UDP,
		.fl6_sport	= htons(output->source.port),
		.fl6_dport	= htons(output->destination.port),
	};

	memcpy(&flow.saddr, output->source.ip, 16);
	memcpy(&flow.daddr, output->destination.ip, 16);
	return ip6_dst_lookup_flow(net, NULL, &flow, NULL);
}

/*
 * The route is kept until the routing tables change.  Rules of several network
 * namespaces may lead to one table: a route belongs to one of them.
 */
int rtpe_route(struct rtpe_output *output, struct net *net, struct rtpe_way *way)
{
	struct dst_entry *dst = output->dst;

	if (likely(dst && output->net == net && dst_check(dst, output->dst_cookie))) {
		way->dst = dst;
		return 0;
	}
	output->dst = NULL;
	/* Others that use it do so under RCU. */
	dst_release(dst);
	dst = output->source.family == 4 ? route4(output, net) : route6(output, net);
	if (IS_ERR(dst))
		return PTR_ERR(dst);
	output->dst = dst;
	output->net = net;
	output->dst_cookie = output->source.family == 6 ? rt6_get_cookie((struct rt6_info *)dst) : 0;
	way->dst = dst;
	return 0;
}

/* The device or the stack completes the checksum, as for any local packet. */
static void push_udp(struct sk_buff *skb, const struct rtpe_output *output)
{
	struct udphdr *udp = skb_push(skb, sizeof(*udp));

	skb_reset_transport_header(skb);
	udp->source = htons(output->source.port);
	udp->dest = htons(output->destination.port);
	udp->len = htons(skb->len);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = offsetof(struct udphdr, check);
}

static int transmit4(struct sk_buff *skb, const struct rtpe_output *output,
		     const struct rtpe_way *way)
{
	struct udphdr *udp = udp_hdr(skb);
	struct iphdr *ip;

	ip = skb_push(skb, sizeof(*ip));
	skb_reset_network_header(skb);
	memcpy(&ip->saddr, output->source.ip, 4);
	memcpy(&ip->daddr, output->destination.ip, 4);
	udp->check = ~csum_tcpudp_magic(ip->saddr, ip->daddr, skb->len - sizeof(*ip),
					IPPROTO_UDP, 0);
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = way->tos;
	ip->ttl = way->hops ? way->hops : ip4_dst_hoplimit(way->dst);
	ip->protocol = IPPROTO_UDP;
	skb->protocol = htons(ETH_P_IP);
	memset(IPCB(skb), 0, sizeof(*IPCB(skb)));
	if (likely(skb->len <= dst_mtu(way->dst))) {
		/* never fragmented: needs no identification (RFC 6864) */
		ip->frag_off = htons(IP_DF);
		ip->id = 0;
	} else {
		ip->frag_off = 0;
		ip_select_ident(way->net, skb, NULL);
	}
	return ip_local_out(way->net, NULL, skb);
}

static int transmit6(struct sk_buff *skb, const struct rtpe_output *output,
		     const struct rtpe_way *way)
{
	struct udphdr *udp = udp_hdr(skb);
	unsigned int n = skb->len;
	struct ipv6hdr *ip;

	ip = skb_push(skb, sizeof(*ip));
	skb_reset_network_header(skb);
	ip6_flow_hdr(ip, way->tos, 0);
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = way->hops ? way->hops : ip6_dst_hoplimit(way->dst);
	memcpy(&ip->saddr, output->source.ip, 16);
	memcpy(&ip->daddr, output->destination.ip, 16);
	udp->check = ~csum_ipv6_magic(&ip->saddr, &ip->daddr, n, IPPROTO_UDP, 0);
	skb->protocol = htons(ETH_P_IPV6);
	memset(IP6CB(skb), 0, sizeof(*IP6CB(skb)));
	return ip6_local_out(way->net, NULL, skb);
}

int rtpe_transmit(struct sk_buff *skb, const struct rtpe_output *output,
		  const struct rtpe_way *way)
{
	unsigned int room = LL_RESERVED_SPACE(way->dst->dev) + sizeof(struct udphdr) +
			    (output->source.family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	int err;

	if (unlikely(skb_cow_head(skb, room))) {
		kfree_skb(skb);
		return -ENOMEM;
	}
	/* A packet of this host now: nothing of how it came may stay. */
	skb_orphan(skb);
	skb_scrub_packet(skb, true);
	skb_clear_hash(skb);
	skb->encapsulation = 0;
	skb->ignore_df = 1;
	skb->priority = rt_tos2priority(way->tos);
	skb_dst_set_noref(skb, way->dst);
	push_udp(skb, output);
	err = output->source.family == 4 ? transmit4(skb, output, way) :
					   transmit6(skb, output, way);
	/* (evaluates its argument twice) */
	return net_xmit_eval(err);
}
