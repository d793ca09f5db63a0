// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Forwarding of RTP in the kernel: the x_tables target RTPENGINE.
 *
 * A rule hands UDP packets with the number of a table to rtpe_forward(); the
 * tables are filled by the relay daemon through /proc/rtpengine.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

#include "module.h"

int rtpe_proc_uid;
module_param_named(proc_uid, rtpe_proc_uid, int, 0444);
MODULE_PARM_DESC(proc_uid, "owner of /proc/rtpengine");

int rtpe_proc_gid;
module_param_named(proc_gid, rtpe_proc_gid, int, 0444);
MODULE_PARM_DESC(proc_gid, "group of /proc/rtpengine");

uint rtpe_proc_mask;
module_param_named(proc_mask, rtpe_proc_mask, uint, 0444);
MODULE_PARM_DESC(proc_mask, "mode bits that table directories do not have");

unsigned int rtpe_stream_packets;
module_param_named(stream_packets_list_limit, rtpe_stream_packets, uint, 0644);
MODULE_PARM_DESC(stream_packets_list_limit, "packets that wait for a reader of a stream, 0: no limit");

unsigned int rtpe_stream_seconds = 10;
module_param_named(stream_seconds_limit, rtpe_stream_seconds, uint, 0644);
MODULE_PARM_DESC(stream_seconds_limit, "seconds that packets wait for a reader of a stream, 0: no limit");

unsigned int rtpe_stream_bytes = 4 << 20;
module_param_named(stream_bytes_limit, rtpe_stream_bytes, uint, 0644);
MODULE_PARM_DESC(stream_bytes_limit, "octets that wait for a reader of a stream, 0: no limit");

unsigned int rtpe_stream_memory = 512;
module_param_named(stream_memory_limit, rtpe_stream_memory, uint, 0644);
MODULE_PARM_DESC(stream_memory_limit, "MiB that wait for readers of all streams");

unsigned int rtpe_media_memory = 256;
module_param_named(media_memory_limit, rtpe_media_memory, uint, 0644);
MODULE_PARM_DESC(media_memory_limit, "MiB of media that players send, of all tables");

bool rtpe_log_errors;
module_param_named(log_errors, rtpe_log_errors, bool, 0644);
MODULE_PARM_DESC(log_errors, "log packets that could not be forwarded");

bool rtpe_api_debug;
module_param_named(api_debug, rtpe_api_debug, bool, 0644);
MODULE_PARM_DESC(api_debug, "log commands that failed");

bool rtpe_print_keys;
module_param_named(print_keys, rtpe_print_keys, bool, 0600);
MODULE_PARM_DESC(print_keys, "show SRTP keys in list");

struct workqueue_struct *rtpe_wq;

struct xt_rtpengine_info {
	__u32 id;
};

static unsigned int rtpe_tg4(struct sk_buff *skb, const struct xt_action_param *par)
{
	const struct xt_rtpengine_info *info = par->targinfo;

	return rtpe_forward(skb, xt_net(par), info->id, 4);
}

static unsigned int rtpe_tg6(struct sk_buff *skb, const struct xt_action_param *par)
{
	const struct xt_rtpengine_info *info = par->targinfo;

	return rtpe_forward(skb, xt_net(par), info->id, 6);
}

static int rtpe_check(const struct xt_tgchk_param *par)
{
	const struct xt_rtpengine_info *info = par->targinfo;

	return info->id < RTPE_MAX_TABLES ? 0 : -EINVAL;
}

static struct xt_target rtpe_targets[] __read_mostly = {
	{
		.name		= "RTPENGINE",
		.family		= NFPROTO_IPV4,
		.target		= rtpe_tg4,
		.targetsize	= sizeof(struct xt_rtpengine_info),
		.checkentry	= rtpe_check,
		.table		= "filter",
		.hooks		= 1 << NF_INET_LOCAL_IN,
		.me		= THIS_MODULE,
	},
	{
		.name		= "RTPENGINE",
		.family		= NFPROTO_IPV6,
		.target		= rtpe_tg6,
		.targetsize	= sizeof(struct xt_rtpengine_info),
		.checkentry	= rtpe_check,
		.table		= "filter",
		.hooks		= 1 << NF_INET_LOCAL_IN,
		.me		= THIS_MODULE,
	},
};

static int __init rtpe_init(void)
{
	int err;

	rtpe_wq = alloc_workqueue("rtpengine", WQ_UNBOUND, 0);
	if (!rtpe_wq)
		return -ENOMEM;
	err = rtpe_srtp_init();
	if (err)
		goto out_wq;
	err = rtpe_proc_init();
	if (err)
		goto out_srtp;
	err = xt_register_targets(rtpe_targets, ARRAY_SIZE(rtpe_targets));
	if (err)
		goto out_proc;
	pr_info("version " RTPE_VERSION ", ABI %d\n", RTPE_ABI_VERSION);
	return 0;

out_proc:
	rtpe_proc_exit();
out_srtp:
	rtpe_srtp_exit();
out_wq:
	destroy_workqueue(rtpe_wq);
	return err;
}

/* Every table holds a reference to the module: there is none left. */
static void __exit rtpe_exit(void)
{
	xt_unregister_targets(rtpe_targets, ARRAY_SIZE(rtpe_targets));
	rtpe_proc_exit();
	/* Work that waits for a grace period, then that work itself. */
	rcu_barrier();
	destroy_workqueue(rtpe_wq);
	rtpe_srtp_exit();
}

module_init(rtpe_init);
module_exit(rtpe_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("forwarding of RTP for rtpengine");
MODULE_VERSION(RTPE_VERSION);
MODULE_ALIAS("ipt_RTPENGINE");
MODULE_ALIAS("ip6t_RTPENGINE");
MODULE_SOFTDEP("pre: aes ctr gcm hmac sha1");
