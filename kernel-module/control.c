// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /proc/rtpengine/<id>/control: the daemon's commands, see rtpengine_abi.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "module.h"

/* One open file. */
struct control {
	struct rtpe_table *table;
};

static int control_open(struct inode *inode, struct file *file)
{
	struct rtpe_table *table = pde_data(inode);
	struct control *control = kzalloc(sizeof(*control), GFP_KERNEL_ACCOUNT);
	int err = 0;

	if (!control)
		return -ENOMEM;
	mutex_lock(&table->mutex);
	if (table->dead) {
		err = -ENOENT;
	} else {
		kref_get(&table->refs);
		table->opened++;
	}
	mutex_unlock(&table->mutex);
	if (err) {
		kfree(control);
		return err;
	}
	control->table = table;
	file->private_data = control;
	return nonseekable_open(inode, file);
}

static int control_release(struct inode *inode, struct file *file)
{
	struct control *control = file->private_data;
	struct rtpe_table *table = control->table;

	mutex_lock(&table->mutex);
	table->opened--;
	/*
	 * Its targets stay: media go on, and the next daemon may take over.
	 * Players would go on for ever, whether or not anybody listens.
	 */
	if (table->controller == control) {
		table->controller = NULL;
		rtpe_end_players(table);
	}
	mutex_unlock(&table->mutex);
	rtpe_table_put(table);
	kfree(control);
	return 0;
}

static int command_init(struct control *control, struct rtpe_init *init)
{
	struct rtpe_table *table = control->table;
	bool same = init->header.version == RTPE_ABI_VERSION;

	if (same && table->controller && table->controller != control)
		return -EBUSY;
	if (same)
		table->controller = control;
	else
		pr_warn("the daemon speaks version %u of the ABI, this module version %u: install versions that belong together\n",
			init->header.version, RTPE_ABI_VERSION);
	memset(init, 0, sizeof(*init));
	init->header.magic = RTPE_ABI_MAGIC;
	init->header.version = RTPE_ABI_VERSION;
	init->header.command = RTPE_INIT;
	init->header.length = sizeof(*init);
	init->module_abi = RTPE_ABI_VERSION;
	init->max_command = RTPE_STOP_PLAYER;
	init->features = rtpe_srtp_features() | RTPE_FEATURE_PLAYERS;
	strscpy(init->module_version, RTPE_VERSION, sizeof(init->module_version));
	return 0;
}

/* Commands with a reply. */
static int run_read(struct control *control, void *message)
{
	struct rtpe_table *table = control->table;
	struct rtpe_header *header = message;

	switch (header->command) {
	case RTPE_INIT:
		return command_init(control, message);
	case RTPE_DEL_TARGET:
		return rtpe_del_target(table, message);
	case RTPE_GET_STATISTICS:
		return rtpe_get_statistics(table, message);
	case RTPE_ADD_CALL:
		return rtpe_add_call(table, message);
	case RTPE_ADD_STREAM:
		return rtpe_add_stream(table, message);
	case RTPE_GET_STREAM:
		return rtpe_get_stream(table, message);
	case RTPE_ADD_MEDIA:
		return rtpe_add_media(table, message);
	case RTPE_START_PLAYER:
		return rtpe_start_player(table, message);
	case RTPE_GET_PLAYER:
		return rtpe_get_player(table, message);
	case RTPE_STOP_PLAYER:
		return rtpe_stop_player(table, message);
	}
	return -EINVAL;
}

static int run_write(struct control *control, void *message)
{
	struct rtpe_table *table = control->table;
	struct rtpe_header *header = message;

	switch (header->command) {
	case RTPE_ADD_TARGET:
		return rtpe_add_target(table, message);
	case RTPE_ADD_DESTINATION:
		return rtpe_add_destination(table, message);
	case RTPE_DEL_CALL:
		return rtpe_del_call(table, ((struct rtpe_call *)message)->index);
	case RTPE_DEL_STREAM:
		return rtpe_del_stream(table, ((struct rtpe_stream *)message)->index);
	case RTPE_ADD_FRAMES:
		return rtpe_add_frames(table, message);
	case RTPE_DEL_MEDIA:
		return rtpe_del_media(table, ((struct rtpe_media *)message)->index);
	case RTPE_PACKET: {
		struct rtpe_packet *packet = message;

		return rtpe_tap_packet(table, packet->stream, packet + 1,
				       header->length - sizeof(*packet), packet->arrival_us);
	}
	}
	return -EINVAL;
}

static int run(struct control *control, void *message, int (*command)(struct control *, void *))
{
	struct rtpe_header *header = message;
	int err;

	if (mutex_lock_interruptible(&control->table->mutex))
		return -EINTR;
	if (control->table->dead)
		err = -ENOENT;
	else if (control->table->controller != control && header->command != RTPE_INIT)
		err = -EPROTO;
	else
		err = command(control, message);
	mutex_unlock(&control->table->mutex);
	if (err && rtpe_api_debug)
		pr_info_ratelimited("table %u: command %u: error %d\n", control->table->id,
				    header->command, err);
	return err;
}

/* The message of a system call, with a header that fits; has to be freed. */
static void *take_message(const char __user *from, size_t n)
{
	void *message;
	int err;

	if (n < sizeof(struct rtpe_header))
		return ERR_PTR(-EIO);
	if (n > sizeof(struct rtpe_packet) + RTPE_MAX_PACKET)
		return ERR_PTR(-ERANGE);
	message = kvmalloc(n, GFP_KERNEL_ACCOUNT);
	if (!message)
		return ERR_PTR(-ENOMEM);
	if (copy_from_user(message, from, n))
		err = -EFAULT;
	else
		err = core_validate_header(message, n);
	if (!err)
		return message;
	kvfree(message);
	return ERR_PTR(err);
}

/* Messages carry keys. */
static void drop_message(void *message, size_t n)
{
	memzero_explicit(message, n);
	kvfree(message);
}

static ssize_t control_write(struct file *file, const char __user *from, size_t n, loff_t *at)
{
	void *message = take_message(from, n);
	int err;

	if (IS_ERR(message))
		return PTR_ERR(message);
	err = run(file->private_data, message, run_write);
	drop_message(message, n);
	return err ? err : n;
}

static ssize_t control_read(struct file *file, char __user *to, size_t n, loff_t *at)
{
	void *message = take_message(to, n);
	int err;

	if (IS_ERR(message))
		return PTR_ERR(message);
	err = run(file->private_data, message, run_read);
	if (!err && copy_to_user(to, message, n))
		err = -EFAULT;
	drop_message(message, n);
	return err ? err : n;
}

const struct proc_ops rtpe_control_ops = {
	.proc_open	= control_open,
	.proc_release	= control_release,
	.proc_read	= control_read,
	.proc_write	= control_write,
};
