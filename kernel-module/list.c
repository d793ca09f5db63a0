// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /proc/rtpengine/<id>/list, for people and scripts, and blist, for the daemon:
 * struct rtpe_statistics of all targets, one after the other.
 *
 * A step of the iteration is a bucket of the table.
 */
#include <linux/slab.h>

#include "module.h"

static void *bucket_at(struct rtpe_table *table, loff_t *at)
{
	for (; *at < 1 << RTPE_BUCKET_BITS; (*at)++)
		if (!hlist_empty(&table->buckets[*at]))
			return &table->buckets[*at];
	return NULL;
}

static void *list_start(struct seq_file *m, loff_t *at)
{
	struct rtpe_table *table = m->private;

	mutex_lock(&table->mutex);
	return bucket_at(table, at);
}

static void *list_next(struct seq_file *m, void *bucket, loff_t *at)
{
	(*at)++;
	return bucket_at(m->private, at);
}

static void list_stop(struct seq_file *m, void *bucket)
{
	struct rtpe_table *table = m->private;

	mutex_unlock(&table->mutex);
}

/* ---- text ------------------------------------------------------------------- */

static void show_address(struct seq_file *m, const struct rtpe_address *address)
{
	const u8 *ip = address->ip;

	if (address->family == 4)
		seq_printf(m, "inet4 %u.%u.%u.%u:%u\n", ip[0], ip[1], ip[2], ip[3], address->port);
	else
		seq_printf(m, "inet6 [%x:%x:%x:%x:%x:%x:%x:%x]:%u\n", core_be16(ip),
			   core_be16(ip + 2), core_be16(ip + 4), core_be16(ip + 6), core_be16(ip + 8),
			   core_be16(ip + 10), core_be16(ip + 12), core_be16(ip + 14), address->port);
}

static void show_counters(struct seq_file *m, const char *indent, const struct rtpe_counters *c)
{
	seq_printf(m, "%sstats: %20llu bytes, %20llu packets, %20llu errors\n", indent, c->bytes,
		   c->packets, c->errors);
}

static void show_ssrcs(struct seq_file *m, const struct rtpe_entry *entry,
		       const struct rtpe_statistics *s)
{
	const char *separator = "    SSRC in: ";
	int i;

	for (i = 0; i < RTPE_MAX_SSRCS; i++) {
		const struct rtpe_ssrc *ssrc = &s->ssrc[i].ssrc;

		if (!(ssrc->flags & RTPE_SSRC_USED))
			continue;
		seq_printf(m, "%s%x [seq %llu/%u", separator, ssrc->ssrc, ssrc->rtp_index,
			   ssrc->rtcp_index);
		if (entry->groups > 1)
			seq_printf(m, " #%u", ssrc->group);
		seq_putc(m, ']');
		separator = ", ";
	}
	if (separator[0] == ',')
		seq_putc(m, '\n');
}

static void show_flags(struct seq_file *m, const struct rtpe_entry *entry)
{
	static const struct {
		u32 flag;
		const char *name;
	} names[] = {
		{ RTPE_TARGET_RTP, "RTP" },
		{ RTPE_TARGET_PT_FILTER, "PT-filter" },
		{ RTPE_TARGET_RTP_ONLY, "RTP-only" },
		{ RTPE_TARGET_RTCP, "RTCP" },
		{ RTPE_TARGET_DTLS, "DTLS" },
		{ RTPE_TARGET_STUN, "STUN" },
		{ RTPE_TARGET_NON_FORWARDING, "non-forwarding" },
		{ RTPE_TARGET_BLACKHOLE, "blackhole" },
		{ RTPE_TARGET_RTP_STATS, "RTP-stats" },
		{ RTPE_TARGET_TRACK_SSRC, "SSRC-tracking" },
		{ RTPE_TARGET_INTERCEPT, "intercept" },
		{ RTPE_TARGET_RTCP_FORWARD, "forward-RTCP" },
		{ RTPE_TARGET_RTCP_COPY, "forward-RTCP-FB" },
	};
	int i;

	seq_puts(m, "    options:");
	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (entry->flags & names[i].flag)
			seq_printf(m, " %s", names[i].name);
	if (entry->flags & RTPE_TARGET_EXTMAP)
		seq_printf(m, " extmap[%u]", entry->mid_extension);
	seq_putc(m, '\n');
}

static void show_output_payloads(struct seq_file *m, const struct rtpe_output *output)
{
	int i;

	for (i = 0; i < output->payloads; i++) {
		const struct rtpe_output_payload *payload = &output->payload[i];

		if (payload->action == RTPE_PAYLOAD_BLACKHOLE)
			seq_printf(m, "        RTP payload type %3u: blackhole\n",
				   payload->payload_type);
		else if (payload->action == RTPE_PAYLOAD_RENAME)
			seq_printf(m, "        RTP payload type %3u: renamed to %u\n",
				   payload->payload_type, payload->renamed);
		else
			seq_printf(m, "        RTP payload type %3u: %u bytes replacement payload, min payload len %u\n",
				   payload->payload_type, payload->pattern_length,
				   payload->min_length);
	}
}

static void show_output(struct seq_file *m, const struct rtpe_output *output, int number,
			const struct rtpe_output_statistics *s)
{
	const char *separator = "       SSRC out: ";
	int i;

	seq_printf(m, "    output #%d (media #%u%s)\n", number, output->media,
		   output->flags & RTPE_OUTPUT_RTCP ? ", RTCP" : "");
	seq_puts(m, "       src ");
	show_address(m, &output->source);
	seq_puts(m, "       dst ");
	show_address(m, &output->destination);
	show_counters(m, "       ", &s->counters);
	for (i = 0; i < RTPE_MAX_SSRCS; i++) {
		const struct rtpe_ssrc *ssrc = &s->ssrc[i];

		if (!(ssrc->flags & RTPE_SSRC_USED))
			continue;
		seq_printf(m, "%s%x [seq %llu+%u/%u]", separator, ssrc->ssrc, ssrc->rtp_index,
			   output->ssrc[i].sequence_offset, ssrc->rtcp_index);
		separator = ", ";
	}
	if (separator[0] == ',')
		seq_putc(m, '\n');
	show_output_payloads(m, output);
	if (output->flags & RTPE_OUTPUT_EXTMAP) {
		seq_puts(m, "       Allowed RTP extensions:");
		for (i = 0; i < output->extensions; i++)
			seq_printf(m, " %u", output->extension[i]);
		seq_putc(m, '\n');
	}
	if (output->encrypt)
		rtpe_srtp_show(m, output->encrypt, "encryption");
}

static void show_entry(struct seq_file *m, struct rtpe_entry *entry, struct rtpe_statistics *s)
{
	int i;

	rtpe_fill_statistics(entry, s);
	seq_puts(m, "local ");
	show_address(m, &entry->local);
	if (entry->filled != entry->wanted) {
		seq_printf(m, "    outputs not fully filled (%u missing)\n",
			   entry->wanted - entry->filled);
		return;
	}
	if (entry->expected.family) {
		seq_puts(m, "    expect ");
		show_address(m, &entry->expected);
	}
	if (entry->mismatch != RTPE_MISMATCH_IGNORE)
		seq_printf(m, "    src mismatch action: %s\n",
			   entry->mismatch == RTPE_MISMATCH_DROP ? "drop" : "propagate");
	show_counters(m, "    ", &s->input);
	for (i = 0; i < entry->payloads; i++) {
		seq_printf(m, "        RTP payload type %3u: %20llu bytes, %20llu packets",
			   s->payload_type[i], s->payload_bytes[i], s->payload_packets[i]);
		if (entry->groups > 1)
			seq_printf(m, "   [group #%u]", entry->payload[i].group);
		seq_putc(m, '\n');
	}
	seq_printf(m, "    last packet: %llu\n", s->last_packet_us / USEC_PER_SEC);
	show_ssrcs(m, entry, s);
	if (entry->decrypt)
		rtpe_srtp_show(m, entry->decrypt, "decryption");
	show_flags(m, entry);
	if (entry->tap)
		rtpe_tap_show(m, entry->tap);
	for (i = 0; i < entry->wanted; i++)
		show_output(m, rcu_dereference_protected(entry->output[i], true), i, &s->output[i]);
}

static int list_show(struct seq_file *m, void *bucket)
{
	struct rtpe_statistics *s = kmalloc(sizeof(*s), GFP_KERNEL);
	struct rtpe_entry *entry;
	loff_t none = 0;
	bool first;

	if (!s)
		return -ENOMEM;
	first = bucket == bucket_at(m->private, &none);
	hlist_for_each_entry(entry, (struct hlist_head *)bucket, node) {
		if (!first)
			seq_putc(m, '\n');
		show_entry(m, entry, s);
		first = false;
	}
	kfree(s);
	return 0;
}

static const struct seq_operations list_ops = {
	.start	= list_start,
	.next	= list_next,
	.stop	= list_stop,
	.show	= list_show,
};

static int list_open(struct inode *inode, struct file *file)
{
	int err = seq_open(file, &list_ops);

	if (!err)
		((struct seq_file *)file->private_data)->private = pde_data(inode);
	return err;
}

const struct proc_ops rtpe_list_ops = {
	.proc_open	= list_open,
	.proc_read	= seq_read,
	.proc_lseek	= seq_lseek,
	.proc_release	= seq_release,
};

/* ---- binary -------------------------------------------------------------------- */

static int blist_show(struct seq_file *m, void *bucket)
{
	struct rtpe_statistics *s = kmalloc(sizeof(*s), GFP_KERNEL);
	struct rtpe_entry *entry;

	if (!s)
		return -ENOMEM;
	hlist_for_each_entry(entry, (struct hlist_head *)bucket, node) {
		rtpe_fill_statistics(entry, s);
		seq_write(m, s, sizeof(*s));
	}
	kfree(s);
	return 0;
}

static const struct seq_operations blist_ops = {
	.start	= list_start,
	.next	= list_next,
	.stop	= list_stop,
	.show	= blist_show,
};

static int blist_open(struct inode *inode, struct file *file)
{
	int err = seq_open(file, &blist_ops);

	if (!err)
		((struct seq_file *)file->private_data)->private = pde_data(inode);
	return err;
}

const struct proc_ops rtpe_blist_ops = {
	.proc_open	= blist_open,
	.proc_read	= seq_read,
	.proc_lseek	= seq_lseek,
	.proc_release	= seq_release,
};
