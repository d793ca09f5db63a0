// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of a packet:
 *
 *	find target -> classify -> check source -> decide -> unprotect, count
 *	-> tap -> for each output: rewrite, protect, send
 *
 * Until a packet is unprotected it is unchanged and can be left to user space;
 * afterwards it is consumed.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>
#include <linux/ratelimit.h>
#include <linux/timekeeping.h>
#include <linux/udp.h>
#include <net/dst.h>
#include <net/dsfield.h>
#include <net/inet_ecn.h>
#include <net/ip.h>
#include <net/ipv6.h>

#include "module.h"

enum kind {
	KIND_OTHER,
	KIND_RTP,
	KIND_RTCP,
};

struct packet {
	struct net *net;
	struct rtpe_entry *entry;
	u64 now_us;
	u32 headers;			/* octets of IP and UDP header */
	u32 length;			/* of the UDP payload */
	enum kind kind;
	s8 source;			/* position of the SSRC, or -1 */
	s8 payload;			/* position of the payload type, or -1 */
	u8 group;
	u8 family;
	u8 tos;
	u8 hops;
	bool copy_only;			/* the original goes to user space, too */
	struct core_rtp rtp;
};

/* What to do with a packet that is not forwarded. */
enum verdict {
	FORWARD,
	LEAVE,				/* to user space */
	DROP,
};

static void count_reason(struct rtpe_entry *entry, enum rtpe_reason reason, bool error)
{
	spin_lock(&entry->lock);
	entry->reasons[reason]++;
	if (error)
		entry->input.errors++;
	spin_unlock(&entry->lock);
	if (error && rtpe_log_errors)
		pr_info_ratelimited("local port %u: error %d\n", entry->local.port, reason);
}

/* ---- what is it, and whose ------------------------------------------------ */

/* Addresses and lengths; true if it is a whole UDP datagram for some target. */
static struct rtpe_entry *look_up4(struct rtpe_table *table, struct sk_buff *skb, struct packet *p)
{
	const struct iphdr *ip = ip_hdr(skb);
	const struct udphdr *udp;
	u32 start = ip->ihl * 4;

	if (ip->protocol != IPPROTO_UDP || ip_is_fragment(ip) ||
	    !pskb_may_pull(skb, start + sizeof(*udp)))
		return NULL;
	ip = ip_hdr(skb);
	udp = (const struct udphdr *)(skb->data + start);
	p->headers = start + sizeof(*udp);
	p->length = ntohs(udp->len) - sizeof(*udp);
	p->tos = ip->tos;
	p->hops = ip->ttl;
	if (unlikely(ntohs(udp->len) < sizeof(*udp) || p->headers + p->length > skb->len))
		return NULL;
	return rtpe_find(table, 4, ntohs(udp->dest), (const u8 *)&ip->daddr);
}

static struct rtpe_entry *look_up6(struct rtpe_table *table, struct sk_buff *skb, struct packet *p)
{
	const struct ipv6hdr *ip = ipv6_hdr(skb);
	const struct udphdr *udp;
	u8 next = ip->nexthdr;
	int start = sizeof(*ip);

	if (next != IPPROTO_UDP) {
		__be16 fragment;

		start = ipv6_skip_exthdr(skb, start, &next, &fragment);
		if (start < 0 || next != IPPROTO_UDP || fragment)
			return NULL;
	}
	if (!pskb_may_pull(skb, start + sizeof(*udp)))
		return NULL;
	ip = ipv6_hdr(skb);
	udp = (const struct udphdr *)(skb->data + start);
	p->headers = start + sizeof(*udp);
	p->length = ntohs(udp->len) - sizeof(*udp);
	p->tos = ipv6_get_dsfield(ip);
	p->hops = ip->hop_limit;
	/* (jumbograms have a length of 0 and are not media) */
	if (unlikely(ntohs(udp->len) < sizeof(*udp) || p->headers + p->length > skb->len))
		return NULL;
	return rtpe_find(table, 6, ntohs(udp->dest), ip->daddr.s6_addr);
}

static bool checksum_ok(struct sk_buff *skb, const struct packet *p)
{
	const struct udphdr *udp = (const struct udphdr *)(skb->data + p->headers - sizeof(*udp));

	if (skb_csum_unnecessary(skb))
		return true;
	if (!udp->check)
		return p->family == 4;
	return !nf_checksum(skb, NF_INET_LOCAL_IN, p->headers - sizeof(*udp), IPPROTO_UDP,
			    p->family == 4 ? AF_INET : AF_INET6);
}

static bool source_matches(const struct sk_buff *skb, const struct packet *p)
{
	const struct rtpe_address *expected = &p->entry->expected;
	const struct udphdr *udp = (const struct udphdr *)(skb->data + p->headers - sizeof(*udp));

	if (expected->port != ntohs(udp->source))
		return false;
	if (p->family == 4)
		return !memcmp(expected->ip, &ip_hdr(skb)->saddr, 4);
	return !memcmp(expected->ip, &ipv6_hdr(skb)->saddr, 16);
}

static int find_source(const struct rtpe_entry *entry, u32 ssrc)
{
	int i;

	for (i = 0; i < RTPE_MAX_SSRCS && entry->ssrcs >> i; i++)
		if (entry->ssrcs & 1 << i && entry->ssrc[i] == ssrc)
			return i;
	return -1;
}

/* By the MID extension, else by SSRC, else by payload type, else the first. */
static u8 find_group(const struct packet *p, const u8 *data)
{
	const struct rtpe_entry *entry = p->entry;

	if (entry->groups < 2)
		return 0;
	if (entry->mid && entry->mid_extension && p->rtp.extension) {
		u8 i, length = 0;
		u16 at = core_find_extension(data, &p->rtp, entry->mid_extension, &length);

		for (i = 0; at && i < RTPE_MAX_GROUPS; i++)
			if (entry->mid[i].length && entry->mid[i].length == length &&
			    !memcmp(entry->mid[i].text, data + at, length))
				return i;
	}
	if (p->source >= 0)
		return entry->ssrc_group[p->source];
	return p->payload >= 0 ? entry->payload[p->payload].group : 0;
}

static enum verdict classify_rtp(struct packet *p, const u8 *data)
{
	struct rtpe_entry *entry = p->entry;

	p->kind = KIND_RTP;
	p->source = find_source(entry, p->rtp.ssrc);
	p->payload = core_find_payload(entry->payload, entry->payloads, p->rtp.payload_type);
	if (p->payload < 0 && entry->flags & RTPE_TARGET_PT_FILTER) {
		count_reason(entry, RTPE_REASON_PAYLOAD, false);
		return LEAVE;
	}
	if (p->source < 0 && READ_ONCE(entry->needs_source)) {
		count_reason(entry, RTPE_REASON_SSRC, true);
		return LEAVE;
	}
	p->group = find_group(p, data);
	return FORWARD;
}

static enum verdict classify_rtcp(struct packet *p, const u8 *data)
{
	struct rtpe_entry *entry = p->entry;

	p->kind = KIND_RTCP;
	if (!(entry->flags & RTPE_TARGET_RTCP_FORWARD))
		return LEAVE;
	p->source = find_source(entry, core_be32(data + 4));
	if (p->source < 0 && READ_ONCE(entry->needs_source)) {
		count_reason(entry, RTPE_REASON_SSRC, true);
		return LEAVE;
	}
	p->group = entry->groups > 1 && p->source >= 0 ? entry->ssrc_group[p->source] : 0;
	p->copy_only = entry->flags & RTPE_TARGET_RTCP_COPY && !core_is_feedback(data, p->length);
	return FORWARD;
}

static enum verdict classify(struct sk_buff *skb, struct packet *p)
{
	struct rtpe_entry *entry = p->entry;
	const u8 *data = skb->data + p->headers;
	u32 flags = entry->flags;

	if (flags & RTPE_TARGET_STUN && core_is_stun(data, p->length))
		return LEAVE;
	if (entry->mismatch != RTPE_MISMATCH_IGNORE && !source_matches(skb, p)) {
		bool drop = entry->mismatch == RTPE_MISMATCH_DROP;

		count_reason(entry, RTPE_REASON_SOURCE, drop);
		return drop ? DROP : LEAVE;
	}
	if (flags & RTPE_TARGET_DTLS && core_is_dtls(data, p->length))
		return LEAVE;
	if (flags & RTPE_TARGET_NON_FORWARDING && !entry->tap && !(flags & RTPE_TARGET_BLACKHOLE))
		return LEAVE;
	if (flags & (RTPE_TARGET_RTP | RTPE_TARGET_RTCP)) {
		if (core_is_rtcp(data, p->length))
			return classify_rtcp(p, data);
		if (flags & RTPE_TARGET_RTP && core_parse_rtp(data, p->length, &p->rtp))
			return classify_rtp(p, data);
		if (flags & (RTPE_TARGET_RTP_ONLY | RTPE_TARGET_RTCP)) {
			count_reason(entry, RTPE_REASON_MALFORMED, false);
			return LEAVE;
		}
	}
	/* What is not RTP cannot be SRTP, and must not leave in the clear where SRTP is spoken. */
	p->kind = KIND_OTHER;
	return entry->needs_source ? LEAVE : FORWARD;
}

/* ---- input ------------------------------------------------------------------ */

/*
 * Unprotects and counts.  0, or an error: the packet is then as it was, and
 * user space may see it (-EALREADY: must not, it could not tell the replay).
 */
static int take_in(struct sk_buff *skb, struct packet *p)
{
	struct rtpe_entry *entry = p->entry;
	struct rtpe_source *source = p->source < 0 ? NULL : &entry->source[p->source];
	u8 *data = skb->data + p->headers;
	u32 octets = p->length;
	int n = p->length;

	spin_lock(&entry->lock);
	if (unlikely(entry->closed)) {
		spin_unlock(&entry->lock);
		return -ENOENT;
	}
	if (entry->decrypt) {
		n = p->kind == KIND_RTP ?
			core_unprotect_rtp(entry->decrypt, &source->rtp, data, n) :
			core_unprotect_rtcp(entry->decrypt, &source->rtcp, data, n);
		if (unlikely(n < 0)) {
			entry->input.errors++;
			entry->reasons[n == -EALREADY ? RTPE_REASON_REPLAY :
				       n == -EBADMSG ? RTPE_REASON_AUTHENTIC :
						       RTPE_REASON_MALFORMED]++;
			spin_unlock(&entry->lock);
			return n;
		}
		p->length = n;
	}
	entry->input.packets++;
	entry->input.bytes += octets;
	entry->last_packet_us = p->now_us;
	entry->last_tos = p->tos;
	if (p->kind == KIND_RTP) {
		if (p->payload >= 0) {
			entry->payload_packets[p->payload]++;
			entry->payload_packets[entry->payloads + p->payload] += octets;
		} else if (entry->payloads) {
			entry->reasons[RTPE_REASON_PAYLOAD]++;
			entry->input.errors++;
		}
		if (source && entry->flags & RTPE_TARGET_RTP_STATS)
			core_account_rtp(&source->account, &p->rtp, p->length, p->now_us,
					 p->payload < 0 ? 0 : entry->payload[p->payload].clock_rate);
	}
	atomic_inc(&entry->busy);
	spin_unlock(&entry->lock);
	return 0;
}

/* ---- outputs ------------------------------------------------------------------ */

static bool is_for(const struct packet *p, const struct rtpe_output *output)
{
	bool rtcp = output->flags & RTPE_OUTPUT_RTCP;

	if (p->entry->flags & (RTPE_TARGET_RTP | RTPE_TARGET_RTCP) &&
	    rtcp != (p->kind == KIND_RTCP))
		return false;
	return p->entry->groups < 2 || output->media == p->group;
}

/* The payload as this output wants it: false if it wants none of it. */
static bool rewrite(const struct packet *p, const struct rtpe_output *output, u8 *data)
{
	int at;

	if (p->kind == KIND_RTCP && output->flags & RTPE_OUTPUT_SSRC_SUBST)
		core_rewrite_rtcp(data, &output->ssrc[p->source]);
	if (p->kind != KIND_RTP)
		return true;
	at = core_find_output_payload(output->payload, output->payloads, p->rtp.payload_type);
	if (at >= 0) {
		const struct rtpe_output_payload *payload = &output->payload[at];

		if (payload->action == RTPE_PAYLOAD_BLACKHOLE ||
		    p->length - p->rtp.header < payload->min_length)
			return false;
		if (payload->action == RTPE_PAYLOAD_RENAME)
			data[1] = (data[1] & 0x80) | payload->renamed;
		if (payload->action == RTPE_PAYLOAD_REPLACE)
			core_fill_payload(data, p->rtp.header, p->length, payload->pattern,
					  payload->pattern_length);
	}
	if (output->flags & RTPE_OUTPUT_SSRC_SUBST)
		core_rewrite_rtp(data, &output->ssrc[p->source]);
	if (output->flags & RTPE_OUTPUT_EXTMAP && p->rtp.extension)
		core_filter_extensions(data, &p->rtp, output->extension, output->extensions);
	return true;
}

static u32 overhead_of(const struct packet *p, const struct rtpe_output *output)
{
	if (!output->encrypt)
		return 0;
	return p->kind == KIND_RTCP ? core_srtp_rtcp_overhead(output->encrypt) :
				      core_srtp_rtp_overhead(output->encrypt);
}

/* With the output's lock. The new length or an error. */
static int protect(const struct packet *p, struct rtpe_output *output, u8 *data)
{
	if (p->kind == KIND_RTP) {
		if (output->encrypt)
			return core_protect_rtp(output->encrypt, &output->sent[p->source], data,
						p->length);
		if (p->source >= 0) {
			struct core_window *sent = &output->sent[p->source];
			u64 index;

			/* So that user space can go on with the numbers. */
			if (core_window_index(sent, core_be16(data + 2), &index))
				core_window_mark(sent, index);
		}
	} else if (output->encrypt) {
		return core_protect_rtcp(output->encrypt, &output->rtcp_index, data, p->length);
	}
	return p->length;
}

/* Takes the packet, whose data begin with the IP header it came with. */
static void put_out(struct sk_buff *skb, const struct packet *p, struct rtpe_output *output)
{
	u32 overhead = overhead_of(p, output);
	struct rtpe_way way = { .net = p->net };
	int n;

	way.tos = output->flags & RTPE_OUTPUT_TOS ? output->tos : p->tos & ~INET_ECN_MASK;
	/* A loop over this host's own addresses must end. */
	if (skb->dev && skb->dev->flags & IFF_LOOPBACK)
		way.hops = p->hops - 1;
	skb_pull(skb, p->headers);
	skb_trim(skb, p->length);
	if (!rewrite(p, output, skb->data)) {
		consume_skb(skb);
		return;
	}
	n = -ENOMEM;
	if (skb_tailroom(skb) < overhead &&
	    pskb_expand_head(skb, 0, overhead - skb_tailroom(skb), GFP_ATOMIC))
		goto out;
	spin_lock(&output->lock);
	n = rtpe_route(output, p->net, &way);
	if (!n)
		n = protect(p, output, skb->data);
	if (likely(n >= 0)) {
		output->counters.packets++;
		output->counters.bytes += n;
	}
	spin_unlock(&output->lock);
	if (unlikely(n < 0))
		goto out;
	if (overhead)
		skb_put(skb, n - p->length);
	n = rtpe_transmit(skb, output, &way);
	if (likely(!n))
		return;
	skb = NULL;
out:
	kfree_skb(skb);
	spin_lock(&output->lock);
	output->counters.errors++;
	spin_unlock(&output->lock);
	count_reason(p->entry, RTPE_REASON_SEND, true);
}

/* Takes the packet. */
static void put_out_all(struct sk_buff *skb, const struct packet *p)
{
	struct rtpe_output *output, *last = NULL;
	int i;

	/* Each gets a copy but the last, which gets the packet itself. */
	for (i = 0; i < p->entry->wanted; i++) {
		output = rcu_dereference(p->entry->output[i]);
		if (!output || !is_for(p, output))
			continue;
		if (last) {
			struct sk_buff *copy = skb_copy_expand(skb, skb_headroom(skb) + LL_MAX_HEADER,
							       overhead_of(p, last), GFP_ATOMIC);

			if (copy)
				put_out(copy, p, last);
			else
				count_reason(p->entry, RTPE_REASON_SEND, true);
		}
		last = output;
	}
	if (last)
		put_out(skb, p, last);
	else
		consume_skb(skb);
}

/* ---- the whole way -------------------------------------------------------------- */

/* A packet that may be written to; the original if nobody else needs it. */
static struct sk_buff *own_packet(struct sk_buff *skb, const struct packet *p)
{
	if (p->copy_only)
		return skb_copy(skb, GFP_ATOMIC);
	if (skb_cloned(skb) && pskb_expand_head(skb, 0, 0, GFP_ATOMIC))
		return NULL;
	return skb;
}

static unsigned int process(struct sk_buff *skb, struct packet *p)
{
	struct rtpe_entry *entry = p->entry;
	struct sk_buff *own;
	int err;

	/* Taps of packets that user space gets as well. */
	if (entry->flags & RTPE_TARGET_NON_FORWARDING && !(entry->flags & RTPE_TARGET_BLACKHOLE))
		p->copy_only = true;
	own = own_packet(skb, p);
	if (unlikely(!own)) {
		count_reason(entry, RTPE_REASON_SEND, true);
		return XT_CONTINUE;
	}
	err = take_in(own, p);
	if (unlikely(err)) {
		if (p->copy_only)
			consume_skb(own);
		return err == -EALREADY ? NF_DROP : XT_CONTINUE;
	}
	if (entry->tap && p->kind != KIND_OTHER)
		rtpe_tap_push(entry->tap, own->data, p->headers + p->length, p->now_us);
	if (entry->flags & RTPE_TARGET_NON_FORWARDING) {
		if (entry->flags & RTPE_TARGET_BLACKHOLE)
			count_reason(entry, RTPE_REASON_BLACKHOLE, false);
		if (p->copy_only)
			consume_skb(own);
		atomic_dec_return_release(&entry->busy);
		return p->copy_only ? XT_CONTINUE : NF_DROP;
	}
	put_out_all(own, p);
	atomic_dec_return_release(&entry->busy);
	if (!p->copy_only)
		return NF_STOLEN;
	skb->mark = RTPE_MARK_HANDLED;
	return XT_CONTINUE;
}

unsigned int rtpe_forward(struct sk_buff *skb, struct net *net, u32 id, u8 family)
{
	struct rtpe_table *table;
	unsigned int verdict = XT_CONTINUE;
	struct packet p;

	rcu_read_lock();
	table = rcu_dereference(rtpe_tables[id]);
	if (!table)
		goto out;
	p.entry = family == 4 ? look_up4(table, skb, &p) : look_up6(table, skb, &p);
	if (!p.entry || smp_load_acquire(&p.entry->filled) != p.entry->wanted)
		goto out;
	/* What receive offload has put together is taken apart by the socket. */
	if (skb_is_gso(skb))
		goto out;
	p.net = net;
	p.family = family;
	p.source = -1;
	p.payload = -1;
	p.group = 0;
	p.copy_only = false;
	if (skb_linearize(skb) || !checksum_ok(skb, &p))
		goto out;
	if (skb->dev && skb->dev->flags & IFF_LOOPBACK && p.hops <= 1)
		goto out;
	switch (classify(skb, &p)) {
	case FORWARD:
		p.now_us = ktime_get_real_ns() / NSEC_PER_USEC;
		verdict = process(skb, &p);
		break;
	case LEAVE:
		break;
	case DROP:
		verdict = NF_DROP;
		break;
	}
out:
	rcu_read_unlock();
	return verdict;
}
