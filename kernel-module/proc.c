// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /proc/rtpengine: control and list, and the directory of each table.
 */
#include <linux/module.h>
#include <linux/uaccess.h>

#include "module.h"

static struct proc_dir_entry *proc_root;

void rtpe_proc_own(struct proc_dir_entry *entry)
{
	kuid_t uid = make_kuid(&init_user_ns, rtpe_proc_uid);
	kgid_t gid = make_kgid(&init_user_ns, rtpe_proc_gid);

	proc_set_user(entry, uid_valid(uid) ? uid : GLOBAL_ROOT_UID,
		      gid_valid(gid) ? gid : GLOBAL_ROOT_GID);
}

/* "add N", "del N", "kill N", maybe with a newline. */
static ssize_t main_control_write(struct file *file, const char __user *from, size_t n, loff_t *at)
{
	char text[21], *number;
	u32 id;
	int err;

	if (n < 5 || n > 20)
		return -EINVAL;
	if (copy_from_user(text, from, n))
		return -EFAULT;
	text[n] = '\0';
	if (strlen(text) != n)
		return -EINVAL;
	if (text[n - 1] == '\n')
		text[n - 1] = '\0';
	number = strchr(text, ' ');
	if (!number)
		return -EINVAL;
	*number++ = '\0';
	if (*number < '0' || *number > '9' || strchr(number, '\n') ||
	    kstrtou32(number, 10, &id) || id >= RTPE_MAX_TABLES)
		return -EINVAL;
	if (!strcmp(text, "add"))
		err = rtpe_table_add(id);
	else if (!strcmp(text, "del"))
		err = rtpe_table_del(id, false);
	else if (!strcmp(text, "kill"))
		err = rtpe_table_del(id, true);
	else
		err = -EINVAL;
	return err ? err : n;
}

static const struct proc_ops main_control_ops = {
	.proc_write	= main_control_write,
	.proc_lseek	= noop_llseek,
};

static int main_list_show(struct seq_file *m, void *unused)
{
	int id;

	for (id = 0; id < RTPE_MAX_TABLES; id++)
		if (rcu_access_pointer(rtpe_tables[id]))
			seq_printf(m, "%d\n", id);
	return 0;
}

static int status_show(struct seq_file *m, void *unused)
{
	struct rtpe_table *table = m->private;
	u64 packets, bytes, dropped;

	mutex_lock(&table->mutex);
	seq_printf(m, "Refcount:    %u\n", kref_read(&table->refs));
	seq_printf(m, "Opencount:   %u\n", table->opened);
	seq_printf(m, "Targets:     %u\n", table->targets);
	seq_printf(m, "Calls:       %u\n", table->calls_count);
	seq_printf(m, "Players:     %u\n", table->players_count);
	seq_printf(m, "PStreams:    %u\n", table->media_count);
	rtpe_tap_totals(table, &packets, &bytes, &dropped);
	mutex_unlock(&table->mutex);
	seq_printf(m, "Tap readers: %d\n", atomic_read(&table->readers));
	seq_printf(m, "Tap packets: %llu\n", packets);
	seq_printf(m, "Tap bytes:   %llu\n", bytes);
	seq_printf(m, "Tap dropped: %llu\n", dropped);
	return 0;
}

static struct proc_dir_entry *own_file(struct proc_dir_entry *entry)
{
	if (entry)
		rtpe_proc_own(entry);
	return entry;
}

/* With the mutex of the tables: names do not clash. */
int rtpe_proc_add_table(struct rtpe_table *table)
{
	char name[8];

	snprintf(name, sizeof(name), "%u", table->id);
	table->proc = proc_mkdir_mode(name, 0555 & ~rtpe_proc_mask, proc_root);
	if (!own_file(table->proc))
		return -ENOMEM;
	table->proc_calls = proc_mkdir_mode("calls", 0555, table->proc);
	if (own_file(table->proc_calls) &&
	    own_file(proc_create_single_data("status", 0444, table->proc, status_show, table)) &&
	    own_file(proc_create_data("list", 0444, table->proc, &rtpe_list_ops, table)) &&
	    own_file(proc_create_data("blist", 0444, table->proc, &rtpe_blist_ops, table)) &&
	    own_file(proc_create_data("control", 0660, table->proc, &rtpe_control_ops, table)))
		return 0;
	proc_remove(table->proc);
	return -ENOMEM;
}

int rtpe_proc_init(void)
{
	proc_root = proc_mkdir_mode("rtpengine", 0555, NULL);
	if (!own_file(proc_root))
		return -ENOMEM;
	if (own_file(proc_create("control", 0220, proc_root, &main_control_ops)) &&
	    own_file(proc_create_single("list", 0444, proc_root, main_list_show)))
		return 0;
	proc_remove(proc_root);
	return -ENOMEM;
}

void rtpe_proc_exit(void)
{
	proc_remove(proc_root);
}
