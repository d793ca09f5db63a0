// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Targets (a local address) and their outputs: added, deleted, counted.
 *
 * What signalling decides does not change after a target or an output was
 * published; a target that is added again replaces the old one whole.
 */
#include <linux/mm.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <net/dst.h>

#include "module.h"

static u32 bucket_of(u16 family, u16 port, const u8 *ip)
{
	u32 fold = 0;

	/* Ports of one address must not meet: they differ in few low bits. */
	if (family == 4)
		memcpy(&fold, ip, 4);
	else
		fold = core_be32(ip) ^ core_be32(ip + 4) ^ core_be32(ip + 8) ^ core_be32(ip + 12);
	return (port ^ (fold * 0x9e3779b1u) >> (32 - RTPE_BUCKET_BITS)) &
	       ((1 << RTPE_BUCKET_BITS) - 1);
}

struct rtpe_entry *rtpe_find(struct rtpe_table *table, u16 family, u16 port, const u8 *ip)
{
	struct rtpe_entry *entry;

	hlist_for_each_entry_rcu(entry, &table->buckets[bucket_of(family, port, ip)], node,
				 lockdep_is_held(&table->mutex))
		if (entry->local.port == port && entry->local.family == family &&
		    !memcmp(entry->local.ip, ip, family == 4 ? 4 : 16))
			return entry;
	return NULL;
}

static struct rtpe_entry *find_local(struct rtpe_table *table, const struct rtpe_address *local)
{
	return rtpe_find(table, local->family, local->port, local->ip);
}

static void free_output(struct rtpe_output *output)
{
	if (!output)
		return;
	dst_release(output->dst);
	rtpe_srtp_free(output->encrypt);
	kfree(output);
}

static void free_entry(struct rtpe_entry *entry)
{
	int i;

	for (i = 0; i < RTPE_MAX_OUTPUTS; i++)
		free_output(rcu_dereference_protected(entry->output[i], true));
	if (entry->tap)
		rtpe_tap_put(entry->tap);
	rtpe_srtp_free(entry->decrypt);
	kfree(entry->mid);
	kfree(entry->payload_packets);
	kfree(entry);
}

static void free_entry_work(struct work_struct *work)
{
	free_entry(container_of(to_rcu_work(work), struct rtpe_entry, free_work));
}

/* Out of the table already; packets may still be in it. */
static void retire_entry(struct rtpe_entry *entry)
{
	INIT_RCU_WORK(&entry->free_work, free_entry_work);
	queue_rcu_work(rtpe_wq, &entry->free_work);
}

/*
 * Afterwards no packet uses its keys and numbers any more. Those that come
 * too late go to user space; those that are on their way are waited for, which
 * takes as long as one packet: a grace period would take a thousand times that.
 */
static void close_entry(struct rtpe_entry *entry)
{
	spin_lock_bh(&entry->lock);
	entry->closed = true;
	spin_unlock_bh(&entry->lock);
	while (atomic_read_acquire(&entry->busy)) {
		cond_resched();
		cpu_relax();
	}
}

static void resume_window(struct core_window *window, u32 known, u64 index)
{
	if (known)
		core_window_behind(window, index);
}

static void take_sources(struct rtpe_entry *entry, const struct rtpe_target *message)
{
	int i;

	for (i = 0; i < RTPE_MAX_SSRCS; i++) {
		const struct rtpe_ssrc *ssrc = &message->ssrc[i];
		struct rtpe_source *source = &entry->source[i];

		if (!(ssrc->flags & RTPE_SSRC_USED))
			continue;
		entry->ssrcs |= 1 << i;
		entry->ssrc[i] = ssrc->ssrc;
		entry->ssrc_group[i] = ssrc->group;
		resume_window(&source->rtp, ssrc->flags & RTPE_SSRC_RTP, ssrc->rtp_index);
		resume_window(&source->rtcp, ssrc->flags & RTPE_SSRC_RTCP, ssrc->rtcp_index);
		source->account.track = message->track[i];
	}
}

static struct rtpe_entry *new_entry(struct rtpe_table *table, const struct rtpe_target *message)
{
	struct rtpe_entry *entry;
	int i, err = -ENOMEM;

	entry = kzalloc(struct_size(entry, payload, message->payloads), GFP_KERNEL_ACCOUNT);
	if (!entry)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&entry->lock);
	entry->local = message->local;
	entry->expected = message->expected;
	entry->flags = message->flags;
	entry->mismatch = message->mismatch;
	entry->wanted = message->outputs;
	entry->payloads = message->payloads;
	entry->groups = message->groups;
	entry->mid_extension = message->mid_extension;
	memcpy(entry->payload, message->payload, message->payloads * sizeof(entry->payload[0]));
	take_sources(entry, message);
	entry->needs_source = core_has_srtp(&message->decrypt) ||
			      message->flags & (RTPE_TARGET_SSRC_REQUIRED | RTPE_TARGET_TRACK_SSRC);
	if (message->payloads) {
		entry->payload_packets = kcalloc(2 * message->payloads, sizeof(u64),
						 GFP_KERNEL_ACCOUNT);
		if (!entry->payload_packets)
			goto out;
	}
	for (i = 0; i < RTPE_MAX_GROUPS && !entry->mid; i++)
		if (message->mid[i].length) {
			entry->mid = kmemdup(message->mid, sizeof(message->mid), GFP_KERNEL_ACCOUNT);
			if (!entry->mid)
				goto out;
		}
	if (message->flags & RTPE_TARGET_INTERCEPT) {
		struct rtpe_tap *tap = xa_load(&table->streams, message->stream);

		err = -ENOENT;
		if (!tap)
			goto out;
		rtpe_tap_get(tap);
		entry->tap = tap;
		entry->tap_dropped = rtpe_tap_dropped(tap);
	}
	if (core_has_srtp(&message->decrypt)) {
		entry->decrypt = rtpe_srtp_new(&message->decrypt);
		if (IS_ERR(entry->decrypt)) {
			err = PTR_ERR(entry->decrypt);
			entry->decrypt = NULL;
			goto out;
		}
	}
	return entry;
out:
	free_entry(entry);
	return ERR_PTR(err);
}

int rtpe_add_target(struct rtpe_table *table, const struct rtpe_target *message)
{
	struct rtpe_entry *entry, *old;
	int err = core_validate_target(message);

	if (err)
		return err;
	old = find_local(table, &message->local);
	if (!old && table->targets >= RTPE_MAX_TARGETS)
		return -ENOSPC;
	entry = new_entry(table, message);
	if (IS_ERR(entry))
		return PTR_ERR(entry);
	if (old) {
		hlist_replace_rcu(&old->node, &entry->node);
		close_entry(old);
		retire_entry(old);
		return 0;
	}
	hlist_add_head_rcu(&entry->node,
			   &table->buckets[bucket_of(entry->local.family, entry->local.port,
						     entry->local.ip)]);
	table->targets++;
	return 0;
}

int rtpe_add_destination(struct rtpe_table *table, const struct rtpe_destination *message)
{
	struct rtpe_entry *entry;
	struct rtpe_output *output;
	int i, err = core_validate_destination(message);

	if (err)
		return err;
	entry = find_local(table, &message->local);
	if (!entry)
		return -ENOENT;
	if (message->number >= entry->wanted)
		return -ERANGE;
	if (rcu_access_pointer(entry->output[message->number]))
		return -EEXIST;
	output = kzalloc(struct_size(output, payload, message->payloads), GFP_KERNEL_ACCOUNT);
	if (!output)
		return -ENOMEM;
	spin_lock_init(&output->lock);
	output->source = message->source;
	output->destination = message->destination;
	output->flags = message->flags;
	output->tos = message->tos;
	output->media = message->media;
	output->payloads = message->payloads;
	output->extensions = message->extensions;
	memcpy(output->extension, message->extension, sizeof(output->extension));
	memcpy(output->payload, message->payload, message->payloads * sizeof(output->payload[0]));
	for (i = 0; i < RTPE_MAX_SSRCS; i++) {
		const struct rtpe_ssrc *ssrc = &message->ssrc[i].out;

		output->ssrc[i] = message->ssrc[i];
		resume_window(&output->sent[i], ssrc->flags & RTPE_SSRC_RTP, ssrc->rtp_index);
		if (ssrc->flags & RTPE_SSRC_RTCP)
			output->rtcp_index = max(output->rtcp_index, ssrc->rtcp_index);
	}
	if (core_has_srtp(&message->encrypt)) {
		output->encrypt = rtpe_srtp_new(&message->encrypt);
		if (IS_ERR(output->encrypt)) {
			err = PTR_ERR(output->encrypt);
			kfree(output);
			return err;
		}
	}
	if (output->encrypt || output->flags & RTPE_OUTPUT_SSRC_SUBST)
		WRITE_ONCE(entry->needs_source, true);
	rcu_assign_pointer(entry->output[message->number], output);
	/* The packet path looks at this first: it begins when the last output is there. */
	smp_store_release(&entry->filled, entry->filled + 1);
	return 0;
}

static void copy_counters(struct rtpe_counters *to, const struct rtpe_counters *from)
{
	to->packets = from->packets;
	to->bytes = from->bytes;
	to->errors = from->errors;
}

static void fill_output(struct rtpe_entry *entry, struct rtpe_output *output,
			struct rtpe_output_statistics *to)
{
	int i;

	spin_lock_bh(&output->lock);
	copy_counters(&to->counters, &output->counters);
	for (i = 0; i < RTPE_MAX_SSRCS; i++) {
		struct rtpe_ssrc *ssrc = &to->ssrc[i];

		if (!(entry->ssrcs & 1 << i))
			continue;
		ssrc->flags = RTPE_SSRC_USED;
		ssrc->ssrc = output->flags & RTPE_OUTPUT_SSRC_SUBST ? output->ssrc[i].out.ssrc :
								     entry->ssrc[i];
		if (output->sent[i].known) {
			ssrc->flags |= RTPE_SSRC_RTP;
			ssrc->rtp_index = output->sent[i].highest;
		}
		if (output->encrypt) {
			ssrc->flags |= RTPE_SSRC_RTCP;
			ssrc->rtcp_index = output->rtcp_index;
		}
	}
	spin_unlock_bh(&output->lock);
}

static void fill_source(struct rtpe_entry *entry, int i, struct rtpe_ssrc_statistics *to)
{
	const struct rtpe_source *source = &entry->source[i];
	const struct core_account *account = &source->account;

	to->ssrc.ssrc = entry->ssrc[i];
	to->ssrc.group = entry->ssrc_group[i];
	to->ssrc.flags = RTPE_SSRC_USED;
	if (source->rtp.known || account->track.started) {
		to->ssrc.flags |= RTPE_SSRC_RTP;
		to->ssrc.rtp_index = source->rtp.known ? source->rtp.highest : account->track.highest;
	}
	if (source->rtcp.known) {
		to->ssrc.flags |= RTPE_SSRC_RTCP;
		to->ssrc.rtcp_index = source->rtcp.highest;
	}
	to->packets = account->packets;
	to->bytes = account->bytes;
	to->track = account->track;
	to->lost = account->lost;
	to->duplicates = account->duplicates;
}

/* Zeroes what is not known. */
void rtpe_fill_statistics(struct rtpe_entry *entry, struct rtpe_statistics *statistics)
{
	int i;

	memset(statistics, 0, sizeof(*statistics));
	statistics->header.magic = RTPE_ABI_MAGIC;
	statistics->header.version = RTPE_ABI_VERSION;
	statistics->header.command = RTPE_GET_STATISTICS;
	statistics->header.length = sizeof(*statistics);
	statistics->local = entry->local;
	statistics->payloads = entry->payloads;
	statistics->outputs = entry->wanted;
	if (entry->tap)
		statistics->tap_dropped = rtpe_tap_dropped(entry->tap) - entry->tap_dropped;
	spin_lock_bh(&entry->lock);
	copy_counters(&statistics->input, &entry->input);
	statistics->last_packet_us = entry->last_packet_us;
	statistics->last_tos = entry->last_tos;
	memcpy(statistics->reasons, entry->reasons, sizeof(statistics->reasons));
	for (i = 0; i < entry->payloads; i++) {
		statistics->payload_type[i] = entry->payload[i].payload_type;
		statistics->payload_packets[i] = entry->payload_packets[i];
		statistics->payload_bytes[i] = entry->payload_packets[entry->payloads + i];
	}
	for (i = 0; i < RTPE_MAX_SSRCS; i++)
		if (entry->ssrcs & 1 << i)
			fill_source(entry, i, &statistics->ssrc[i]);
	spin_unlock_bh(&entry->lock);
	for (i = 0; i < entry->wanted; i++) {
		struct rtpe_output *output = rcu_dereference_protected(entry->output[i], true);

		if (output)
			fill_output(entry, output, &statistics->output[i]);
	}
}

int rtpe_get_statistics(struct rtpe_table *table, struct rtpe_statistics *statistics)
{
	struct rtpe_entry *entry = find_local(table, &statistics->local);

	if (!entry)
		return -ENOENT;
	rtpe_fill_statistics(entry, statistics);
	return 0;
}

/*
 * The reply has the final numbers: nothing is on its way in the target any
 * more, so that the daemon can go on with them.
 */
int rtpe_del_target(struct rtpe_table *table, struct rtpe_statistics *statistics)
{
	struct rtpe_entry *entry = find_local(table, &statistics->local);

	if (!entry)
		return -ENOENT;
	hlist_del_rcu(&entry->node);
	table->targets--;
	close_entry(entry);
	rtpe_fill_statistics(entry, statistics);
	retire_entry(entry);
	return 0;
}

void rtpe_del_all_targets(struct rtpe_table *table)
{
	struct rtpe_entry *entry;
	struct hlist_node *next;
	int i;

	for (i = 0; i < 1 << RTPE_BUCKET_BITS; i++)
		hlist_for_each_entry_safe(entry, next, &table->buckets[i], node) {
			hlist_del_rcu(&entry->node);
			retire_entry(entry);
		}
	table->targets = 0;
}
