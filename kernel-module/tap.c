// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Recording taps: /proc/rtpengine/<id>/calls/<call>/<stream>, of which one
 * read gives one packet.
 *
 * A stream that is deleted while somebody has it open stays until the last one
 * has closed it: what waits can still be read, then comes the end of the file.
 * Its directory goes with its last stream.
 */
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/stringhash.h>
#include <linux/uaccess.h>

#include "module.h"

/* Goes with its last file. */
struct call {
	struct hlist_node node;		/* in call_names, as long as it has a directory */
	struct list_head streams;	/* those that have files */
	struct proc_dir_entry *directory;
	unsigned int count;
	u32 index;
	bool deleted;
	char name[RTPE_MAX_NAME];
};

/* References: of its file, of each target, of each open file, of queued work. */
struct rtpe_tap {
	struct kref refs;
	struct rcu_head rcu;
	struct list_head node;
	struct call *call;
	struct rtpe_table *table;
	struct proc_dir_entry *file;
	struct work_struct remove;
	u32 index;
	u32 flags;
	u32 max_packets;
	wait_queue_head_t wait;

	spinlock_t lock;
	struct core_queue queue;
	unsigned int readers;
	bool gone;			/* deleted */
	char name[RTPE_MAX_NAME];
};

/* Octets that wait in all streams. */
static atomic64_t waiting;

static u64 cost(const struct core_packet *packet)
{
	return (u64)packet->length + CORE_PACKET_COST;
}

static void free_packets(struct core_packet *packet)
{
	while (packet) {
		struct core_packet *next = packet->next;

		atomic64_sub(cost(packet), &waiting);
		kfree(packet);
		packet = next;
	}
}

static void release_tap(struct kref *refs)
{
	struct rtpe_tap *tap = container_of(refs, struct rtpe_tap, refs);

	free_packets(tap->queue.first);
	kfree_rcu(tap, rcu);
}

void rtpe_tap_get(struct rtpe_tap *tap)
{
	kref_get(&tap->refs);
}

void rtpe_tap_put(struct rtpe_tap *tap)
{
	kref_put(&tap->refs, release_tap);
}

/* ---- packets ---------------------------------------------------------------- */

static int push(struct rtpe_tap *tap, struct core_packet *packet, u64 now_us)
{
	struct core_packet *gone;
	u64 dropped;

	packet->arrival_us = now_us;
	atomic64_add(cost(packet), &waiting);
	spin_lock_bh(&tap->lock);
	if (tap->gone) {
		spin_unlock_bh(&tap->lock);
		free_packets(packet);
		return -ENOENT;
	}
	/* The parameters may change while the stream exists. */
	tap->queue.max_packets = tap->max_packets ? tap->max_packets : READ_ONCE(rtpe_stream_packets);
	tap->queue.max_bytes = READ_ONCE(rtpe_stream_bytes);
	tap->queue.max_age_us = (u64)READ_ONCE(rtpe_stream_seconds) * USEC_PER_SEC;
	dropped = tap->queue.dropped;
	gone = core_queue_push(&tap->queue, packet);
	dropped = tap->queue.dropped - dropped;
	spin_unlock_bh(&tap->lock);
	if (dropped) {
		atomic64_add(dropped, &tap->table->tap_dropped);
		free_packets(gone);
	}
	if (wq_has_sleeper(&tap->wait))
		wake_up_interruptible(&tap->wait);
	return 0;
}

static void count_drop(struct rtpe_tap *tap)
{
	spin_lock_bh(&tap->lock);
	tap->queue.dropped++;
	spin_unlock_bh(&tap->lock);
	atomic64_inc(&tap->table->tap_dropped);
}

/* In softirq, or with the table's mutex. */
static int push_copy(struct rtpe_tap *tap, const void *octets, size_t n, u64 now_us, gfp_t gfp)
{
	struct core_packet *packet = NULL;

	if (atomic64_read(&waiting) < (s64)READ_ONCE(rtpe_stream_memory) << 20)
		packet = kmalloc(sizeof(*packet) + n, gfp | __GFP_NOWARN);
	if (!packet) {
		count_drop(tap);
		return -ENOMEM;
	}
	packet->next = NULL;
	packet->length = n;
	memcpy(packet->octets, octets, n);
	return push(tap, packet, now_us);
}

void rtpe_tap_push(struct rtpe_tap *tap, const void *octets, size_t n, u64 now_us)
{
	if (!READ_ONCE(tap->gone))
		push_copy(tap, octets, n, now_us, GFP_ATOMIC);
}

int rtpe_tap_packet(struct rtpe_table *table, u32 index, const void *octets, size_t n,
		    u64 arrival_us)
{
	struct rtpe_tap *tap = xa_load(&table->streams, index);

	if (!tap)
		return -ENOENT;
	if (!arrival_us)
		arrival_us = ktime_get_real_ns() / NSEC_PER_USEC;
	return push_copy(tap, octets, n, arrival_us, GFP_KERNEL_ACCOUNT);
}

/* ---- the file ------------------------------------------------------------------ */

static int tap_open(struct inode *inode, struct file *file)
{
	struct rtpe_tap *tap = pde_data(inode);
	int err = 0;

	spin_lock_bh(&tap->lock);
	if (tap->gone)
		err = tap->queue.packets ? -EIO : -ETXTBSY;
	else
		tap->readers++;
	spin_unlock_bh(&tap->lock);
	if (err)
		return err;
	rtpe_tap_get(tap);
	atomic_inc(&tap->table->readers);
	file->private_data = tap;
	return nonseekable_open(inode, file);
}

static int tap_release(struct inode *inode, struct file *file)
{
	struct rtpe_tap *tap = file->private_data;
	bool last;

	atomic_dec(&tap->table->readers);
	spin_lock_bh(&tap->lock);
	last = !--tap->readers && tap->gone;
	spin_unlock_bh(&tap->lock);
	/* Not from here: removing a file waits for those who use it. */
	if (last) {
		/* (the work takes over this reference) */
		kref_get(&tap->table->refs);
		if (queue_work(rtpe_wq, &tap->remove))
			return 0;
		rtpe_table_put(tap->table);
	}
	rtpe_tap_put(tap);
	return 0;
}

/* The next packet, NULL at the end, or an error. */
static struct core_packet *next_packet(struct rtpe_tap *tap, bool block)
{
	for (;;) {
		struct core_packet *packet;
		bool gone;
		int err;

		spin_lock_bh(&tap->lock);
		packet = core_queue_pop(&tap->queue);
		gone = tap->gone;
		spin_unlock_bh(&tap->lock);
		if (packet || gone)
			return packet;
		if (!block)
			return ERR_PTR(-EAGAIN);
		err = wait_event_interruptible(tap->wait, READ_ONCE(tap->queue.first) ||
							  READ_ONCE(tap->gone));
		if (err)
			return ERR_PTR(err);
	}
}

/* What spool::framing of the daemon puts behind packets as well. */
static void put_stamp(u8 *p, u64 us)
{
	int i;

	memcpy(p, "RTpT", 4);
	for (i = 0; i < 8; i++)
		p[4 + i] = us >> (56 - 8 * i);
}

static ssize_t tap_read(struct file *file, char __user *to, size_t n, loff_t *at)
{
	struct rtpe_tap *tap = file->private_data;
	struct core_packet *packet = next_packet(tap, !(file->f_flags & O_NONBLOCK));
	size_t length;

	if (IS_ERR_OR_NULL(packet))
		return PTR_ERR(packet);
	core_finish_packet(packet->octets, packet->length);
	length = min_t(size_t, n, packet->length);
	if (copy_to_user(to, packet->octets, length)) {
		free_packets(packet);
		return -EFAULT;
	}
	if (tap->flags & RTPE_STREAM_STAMP && n >= length + 12) {
		u8 stamp[12];

		put_stamp(stamp, packet->arrival_us);
		if (!copy_to_user(to + length, stamp, sizeof(stamp)))
			length += sizeof(stamp);
	}
	free_packets(packet);
	return length;
}

static __poll_t tap_poll(struct file *file, poll_table *wait)
{
	struct rtpe_tap *tap = file->private_data;
	__poll_t events = 0;

	poll_wait(file, &tap->wait, wait);
	spin_lock_bh(&tap->lock);
	if (tap->queue.first)
		events = EPOLLIN | EPOLLRDNORM;
	else if (tap->gone)
		events = EPOLLIN | EPOLLRDNORM | EPOLLHUP;
	spin_unlock_bh(&tap->lock);
	return events;
}

static const struct proc_ops tap_ops = {
	.proc_open	= tap_open,
	.proc_release	= tap_release,
	.proc_read	= tap_read,
	.proc_poll	= tap_poll,
};

/* ---- calls and streams, with the table's mutex ------------------------------------ */

static struct hlist_head *name_bucket(struct rtpe_table *table, const char *name)
{
	return &table->call_names[full_name_hash(NULL, name, strlen(name)) &
				  ((1 << RTPE_CALL_BITS) - 1)];
}

int rtpe_add_call(struct rtpe_table *table, struct rtpe_call *message)
{
	struct hlist_head *bucket;
	struct call *call;
	int err = core_validate_name(message->name);

	if (err)
		return err;
	if (table->calls_count >= RTPE_MAX_CALLS)
		return -ENOSPC;
	bucket = name_bucket(table, message->name);
	hlist_for_each_entry(call, bucket, node)
		if (!strcmp(call->name, message->name))
			return -EEXIST;
	call = kzalloc(sizeof(*call), GFP_KERNEL_ACCOUNT);
	if (!call)
		return -ENOMEM;
	INIT_LIST_HEAD(&call->streams);
	strscpy(call->name, message->name, sizeof(call->name));
	err = xa_alloc(&table->calls, &call->index, call, xa_limit_31b, GFP_KERNEL_ACCOUNT);
	if (err)
		goto out;
	err = -ENOMEM;
	call->directory = proc_mkdir_mode(call->name, 0555, table->proc_calls);
	if (!call->directory)
		goto out_index;
	rtpe_proc_own(call->directory);
	hlist_add_head(&call->node, bucket);
	table->calls_count++;
	message->index = call->index;
	return 0;
out_index:
	xa_erase(&table->calls, call->index);
out:
	kfree(call);
	return err;
}

/* Nobody has the file open. */
static void remove_file(struct rtpe_tap *tap)
{
	struct call *call = tap->call;

	proc_remove(tap->file);
	list_del(&tap->node);
	rtpe_tap_put(tap);
	if (call->deleted && list_empty(&call->streams)) {
		proc_remove(call->directory);
		hlist_del(&call->node);
		kfree(call);
	}
}

/* After the last reader of a deleted stream. */
static void remove_work(struct work_struct *work)
{
	struct rtpe_tap *tap = container_of(work, struct rtpe_tap, remove);
	struct rtpe_table *table = tap->table;

	mutex_lock(&table->mutex);
	/* (a table that goes removes all its files itself) */
	if (!table->dead)
		remove_file(tap);
	mutex_unlock(&table->mutex);
	rtpe_tap_put(tap);
	rtpe_table_put(table);
}

int rtpe_add_stream(struct rtpe_table *table, struct rtpe_stream *message)
{
	struct rtpe_tap *tap;
	struct call *call;
	int err = core_validate_name(message->name);

	if (err || message->flags & ~RTPE_STREAM_FLAGS)
		return -EINVAL;
	call = xa_load(&table->calls, message->call);
	if (!call)
		return -ENOENT;
	if (call->count >= RTPE_MAX_STREAMS)
		return -ENOSPC;
	list_for_each_entry(tap, &call->streams, node)
		if (!strcmp(tap->name, message->name))
			return -EEXIST;
	tap = kzalloc(sizeof(*tap), GFP_KERNEL_ACCOUNT);
	if (!tap)
		return -ENOMEM;
	kref_init(&tap->refs);
	spin_lock_init(&tap->lock);
	init_waitqueue_head(&tap->wait);
	INIT_WORK(&tap->remove, remove_work);
	tap->table = table;
	tap->call = call;
	tap->flags = message->flags;
	tap->max_packets = message->max_packets;
	strscpy(tap->name, message->name, sizeof(tap->name));
	err = xa_alloc(&table->streams, &tap->index, tap, xa_limit_31b, GFP_KERNEL_ACCOUNT);
	if (err)
		goto out;
	err = -ENOMEM;
	tap->file = proc_create_data(tap->name, 0440, call->directory, &tap_ops, tap);
	if (!tap->file)
		goto out_index;
	rtpe_proc_own(tap->file);
	list_add(&tap->node, &call->streams);
	call->count++;
	message->index = tap->index;
	return 0;
out_index:
	xa_erase(&table->streams, tap->index);
out:
	kfree(tap);
	return err;
}

/* No packet gets in any more, and readers find the end. True if there are none. */
static bool end_stream(struct rtpe_tap *tap)
{
	bool unused;

	spin_lock_bh(&tap->lock);
	tap->gone = true;
	unused = !tap->readers;
	spin_unlock_bh(&tap->lock);
	wake_up_interruptible_all(&tap->wait);
	return unused;
}

static void del_stream(struct rtpe_table *table, struct rtpe_tap *tap)
{
	xa_erase(&table->streams, tap->index);
	tap->call->count--;
	if (end_stream(tap))
		remove_file(tap);
}

int rtpe_del_stream(struct rtpe_table *table, u32 index)
{
	struct rtpe_tap *tap = xa_load(&table->streams, index);

	if (!tap)
		return -ENOENT;
	del_stream(table, tap);
	return 0;
}

int rtpe_del_call(struct rtpe_table *table, u32 index)
{
	struct call *call = xa_erase(&table->calls, index);
	struct rtpe_tap *tap, *next;

	if (!call)
		return -ENOENT;
	table->calls_count--;
	/* The last file must not take the call along while the list is walked. */
	list_for_each_entry_safe(tap, next, &call->streams, node)
		if (xa_load(&table->streams, tap->index) == tap)
			del_stream(table, tap);
	if (list_empty(&call->streams)) {
		proc_remove(call->directory);
		hlist_del(&call->node);
		kfree(call);
	} else {
		call->deleted = true;
	}
	return 0;
}

/* The table is dead, its files still exist. */
void rtpe_end_calls(struct rtpe_table *table)
{
	struct rtpe_tap *tap;
	struct call *call;
	int i;

	for (i = 0; i < 1 << RTPE_CALL_BITS; i++)
		hlist_for_each_entry(call, &table->call_names[i], node)
			list_for_each_entry(tap, &call->streams, node)
				end_stream(tap);
}

/* Its files are gone. */
void rtpe_free_calls(struct rtpe_table *table)
{
	struct rtpe_tap *tap, *next;
	struct hlist_node *next_node;
	struct call *call;
	int i;

	for (i = 0; i < 1 << RTPE_CALL_BITS; i++)
		hlist_for_each_entry_safe(call, next_node, &table->call_names[i], node) {
			list_for_each_entry_safe(tap, next, &call->streams, node) {
				list_del(&tap->node);
				rtpe_tap_put(tap);
			}
			hlist_del(&call->node);
			kfree(call);
		}
	table->calls_count = 0;
}

/* ---- what lists show ----------------------------------------------------------------- */

void rtpe_tap_totals(struct rtpe_table *table, u64 *packets, u64 *bytes, u64 *dropped)
{
	struct rtpe_tap *tap;
	unsigned long index;

	*packets = 0;
	*bytes = 0;
	*dropped = atomic64_read(&table->tap_dropped);
	xa_for_each(&table->streams, index, tap) {
		spin_lock_bh(&tap->lock);
		*packets += tap->queue.packets;
		*bytes += tap->queue.bytes;
		spin_unlock_bh(&tap->lock);
	}
}

u64 rtpe_tap_dropped(struct rtpe_tap *tap)
{
	u64 dropped;

	spin_lock_bh(&tap->lock);
	dropped = tap->queue.dropped;
	spin_unlock_bh(&tap->lock);
	return dropped;
}

int rtpe_get_stream(struct rtpe_table *table, struct rtpe_stream *message)
{
	struct rtpe_tap *tap = xa_load(&table->streams, message->index);

	if (!tap)
		return -ENOENT;
	spin_lock_bh(&tap->lock);
	message->waiting = tap->queue.packets;
	message->dropped = tap->queue.dropped;
	message->readers = tap->readers;
	spin_unlock_bh(&tap->lock);
	return 0;
}

void rtpe_tap_show(struct seq_file *m, struct rtpe_tap *tap)
{
	u64 bytes, dropped;
	u32 packets;

	spin_lock_bh(&tap->lock);
	packets = tap->queue.packets;
	bytes = tap->queue.bytes;
	dropped = tap->queue.dropped;
	spin_unlock_bh(&tap->lock);
	seq_printf(m, "    intercept stream %u: %u packets, %llu bytes waiting, %llu dropped\n",
		   tap->index, packets, bytes, dropped);
}
