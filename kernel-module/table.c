// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Forwarding tables: made and deleted through /proc/rtpengine/control.
 *
 * A table outlives its daemon, so that media go on until somebody says
 * otherwise.  Its references: one of the array, one of each open control file,
 * and of work that is queued.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "module.h"

struct rtpe_table __rcu *rtpe_tables[RTPE_MAX_TABLES];
static DEFINE_MUTEX(rtpe_tables_mutex);

int rtpe_table_add(u32 id)
{
	struct rtpe_table *table;
	int err;

	mutex_lock(&rtpe_tables_mutex);
	err = -EEXIST;
	if (rcu_access_pointer(rtpe_tables[id]))
		goto out;
	err = -ENOMEM;
	table = kvzalloc(sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		goto out;
	kref_init(&table->refs);
	mutex_init(&table->mutex);
	table->id = id;
	atomic_set(&table->readers, 0);
	xa_init_flags(&table->calls, XA_FLAGS_ALLOC);
	xa_init_flags(&table->streams, XA_FLAGS_ALLOC);
	xa_init_flags(&table->media, XA_FLAGS_ALLOC);
	xa_init_flags(&table->players, XA_FLAGS_ALLOC);
	err = rtpe_proc_add_table(table);
	if (err) {
		kvfree(table);
		goto out;
	}
	/* Given back by whoever lets go of the table last. */
	__module_get(THIS_MODULE);
	rcu_assign_pointer(rtpe_tables[id], table);
out:
	mutex_unlock(&rtpe_tables_mutex);
	return err;
}

/* force: also while files are open; their users find out. */
int rtpe_table_del(u32 id, bool force)
{
	struct rtpe_table *table;
	int err = -ENOENT;

	mutex_lock(&rtpe_tables_mutex);
	table = rcu_dereference_protected(rtpe_tables[id], lockdep_is_held(&rtpe_tables_mutex));
	if (!table)
		goto out;
	mutex_lock(&table->mutex);
	err = -EBUSY;
	if (!force && (table->opened || atomic_read(&table->readers))) {
		mutex_unlock(&table->mutex);
		goto out;
	}
	err = 0;
	table->dead = true;
	RCU_INIT_POINTER(rtpe_tables[id], NULL);
	rtpe_del_all_targets(table);
	rtpe_end_players(table);
	rtpe_end_calls(table);
	mutex_unlock(&table->mutex);
	/* Waits for system calls in the table's files: without its mutex. */
	proc_remove(table->proc);
	mutex_lock(&table->mutex);
	rtpe_free_calls(table);
	mutex_unlock(&table->mutex);
	rtpe_table_put(table);
out:
	mutex_unlock(&rtpe_tables_mutex);
	return err;
}

static void free_table(struct work_struct *work)
{
	struct rtpe_table *table = container_of(to_rcu_work(work), struct rtpe_table, free_work);

	xa_destroy(&table->calls);
	xa_destroy(&table->streams);
	xa_destroy(&table->media);
	xa_destroy(&table->players);
	kvfree(table);
	module_put(THIS_MODULE);
}

static void release_table(struct kref *refs)
{
	struct rtpe_table *table = container_of(refs, struct rtpe_table, refs);

	/* The packet path may still look into it. */
	INIT_RCU_WORK(&table->free_work, free_table);
	queue_rcu_work(rtpe_wq, &table->free_work);
}

void rtpe_table_put(struct rtpe_table *table)
{
	kref_put(&table->refs, release_table);
}
