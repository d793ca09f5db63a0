/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xt_RTPENGINE, what its files share.
 *
 * Locks, outermost first:
 *
 *	rtpe_tables_mutex	the array of tables (add, del, kill)
 *	table->mutex		commands of one table, its lists and counts
 *	target->lock		what packets change at a target   (BH)
 *	output->lock		what packets change at an output  (BH)
 *	stream->lock		queue and readers of a tap        (BH)
 *
 * The packet path finds table, target and outputs under RCU and takes one
 * target lock and one output lock, one after the other, never both.  A stream's
 * packets nearly always arrive on one CPU, so that nobody waits for them.
 */
#ifndef RTPE_MODULE_H
#define RTPE_MODULE_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "core/core.h"

#ifndef __LITTLE_ENDIAN
#error "the control messages are defined for little-endian machines only"
#endif

#define RTPE_VERSION		"0.1.0"
#define RTPE_BUCKET_BITS	14
#define RTPE_CALL_BITS		10
#define RTPE_MAX_TARGETS	(1 << 20)
#define RTPE_MAX_CALLS		(1 << 18)
#define RTPE_MAX_STREAMS	1024	/* of one call */
#define RTPE_MAX_MEDIA		(1 << 16)
#define RTPE_MAX_PLAYERS	(1 << 14)

/* ---- tables -------------------------------------------------------------- */

struct rtpe_table {
	struct kref refs;
	struct mutex mutex;
	u32 id;
	bool dead;
	unsigned int opened;		/* control files */
	const void *controller;		/* the one that said INIT */
	unsigned int targets;
	unsigned int calls_count;
	atomic_t readers;		/* open packet files */
	atomic64_t tap_dropped;
	struct xarray calls;
	struct xarray streams;
	unsigned int media_count;
	unsigned int players_count;
	struct xarray media;
	struct xarray players;
	struct proc_dir_entry *proc;
	struct proc_dir_entry *proc_calls;
	struct rcu_work free_work;
	struct hlist_head call_names[1 << RTPE_CALL_BITS];
	struct hlist_head buckets[1 << RTPE_BUCKET_BITS];
};

extern struct rtpe_table __rcu *rtpe_tables[RTPE_MAX_TABLES];

int rtpe_table_add(u32 id);
int rtpe_table_del(u32 id, bool force);
void rtpe_table_put(struct rtpe_table *table);

/* ---- targets and outputs --------------------------------------------------- */

struct rtpe_output {
	struct rtpe_address source;
	struct rtpe_address destination;
	u32 flags;
	u8 tos;
	u8 media;
	u8 payloads;
	u8 extensions;
	struct core_srtp *encrypt;

	spinlock_t lock;
	struct rtpe_counters counters;
	struct dst_entry *dst;
	const struct net *net;		/* of dst; compared only */
	u32 dst_cookie;
	u32 rtcp_index;
	struct core_window sent[RTPE_MAX_SSRCS];

	struct rtpe_output_ssrc ssrc[RTPE_MAX_SSRCS];
	u8 extension[RTPE_MAX_EXTENSIONS];
	struct rtpe_output_payload payload[];
};

/* One tracked SSRC of the input. */
struct rtpe_source {
	struct core_account account;
	struct core_window rtp;
	struct core_window rtcp;
};

struct rtpe_entry {
	struct hlist_node node;
	struct rcu_work free_work;
	struct rtpe_address local;
	struct rtpe_address expected;
	u32 flags;
	u8 mismatch;
	u8 wanted;			/* outputs announced */
	u8 filled;
	u8 payloads;
	u8 groups;
	u8 mid_extension;
	u8 ssrcs;			/* bit i: ssrc[i] is in use */
	bool needs_source;		/* only tracked SSRCs can be processed */
	u32 ssrc[RTPE_MAX_SSRCS];
	u8 ssrc_group[RTPE_MAX_SSRCS];
	struct core_srtp *decrypt;
	struct rtpe_tap *tap;
	u64 tap_dropped;		/* before the target was added */
	struct rtpe_mid *mid;
	struct rtpe_output __rcu *output[RTPE_MAX_OUTPUTS];

	atomic_t busy;			/* packets between target and outputs */
	spinlock_t lock;
	bool closed;			/* deleted: nothing may begin any more */
	struct rtpe_counters input;
	u64 last_packet_us;
	u64 reasons[RTPE_REASONS];
	u8 last_tos;
	struct rtpe_source source[RTPE_MAX_SSRCS];
	u64 *payload_packets;		/* [payloads], then octets [payloads] */
	struct rtpe_payload payload[];
};

/* On the packet path, under RCU. */
struct rtpe_entry *rtpe_find(struct rtpe_table *table, u16 family, u16 port, const u8 *ip);

/* With the table's mutex. */
int rtpe_add_target(struct rtpe_table *table, const struct rtpe_target *message);
int rtpe_add_destination(struct rtpe_table *table, const struct rtpe_destination *message);
int rtpe_del_target(struct rtpe_table *table, struct rtpe_statistics *statistics);
int rtpe_get_statistics(struct rtpe_table *table, struct rtpe_statistics *statistics);
void rtpe_fill_statistics(struct rtpe_entry *entry, struct rtpe_statistics *statistics);
void rtpe_del_all_targets(struct rtpe_table *table);

/* ---- packets ---------------------------------------------------------------- */

/* A verdict; the packet is gone if it is NF_STOLEN. */
unsigned int rtpe_forward(struct sk_buff *skb, struct net *net, u32 id, u8 family);

struct rtpe_way {
	struct net *net;
	struct dst_entry *dst;		/* valid until the end of the RCU section */
	u8 tos;
	u8 hops;			/* 0: the route's default */
};

/* With the output's lock: the route, or an error. */
int rtpe_route(struct rtpe_output *output, struct net *net, struct rtpe_way *way);
/* skb->data is the UDP payload. Takes the packet in any case. */
int rtpe_transmit(struct sk_buff *skb, const struct rtpe_output *output,
		  const struct rtpe_way *way);

/* ---- SRTP --------------------------------------------------------------------- */

struct core_srtp *rtpe_srtp_new(const struct rtpe_crypto *crypto);
void rtpe_srtp_free(struct core_srtp *srtp);
u32 rtpe_srtp_features(void);
void rtpe_srtp_show(struct seq_file *m, const struct core_srtp *srtp, const char *direction);
int rtpe_srtp_init(void);
void rtpe_srtp_exit(void);

/* ---- taps ----------------------------------------------------------------------- */

struct rtpe_tap;

void rtpe_tap_get(struct rtpe_tap *tap);
void rtpe_tap_put(struct rtpe_tap *tap);
void rtpe_tap_push(struct rtpe_tap *tap, const void *packet, size_t n, u64 now_us);
u64 rtpe_tap_dropped(struct rtpe_tap *tap);
void rtpe_tap_show(struct seq_file *m, struct rtpe_tap *tap);

/* With the table's mutex. */
int rtpe_add_call(struct rtpe_table *table, struct rtpe_call *message);
int rtpe_del_call(struct rtpe_table *table, u32 index);
int rtpe_add_stream(struct rtpe_table *table, struct rtpe_stream *message);
int rtpe_del_stream(struct rtpe_table *table, u32 index);
int rtpe_get_stream(struct rtpe_table *table, struct rtpe_stream *message);
int rtpe_tap_packet(struct rtpe_table *table, u32 index, const void *packet, size_t n,
		    u64 arrival_us);
void rtpe_end_calls(struct rtpe_table *table);
/* Without it. */
void rtpe_free_calls(struct rtpe_table *table);
void rtpe_tap_totals(struct rtpe_table *table, u64 *packets, u64 *bytes, u64 *dropped);

/* ---- players ---------------------------------------------------------------------- */

/* With the table's mutex. */
int rtpe_add_media(struct rtpe_table *table, struct rtpe_media *message);
int rtpe_add_frames(struct rtpe_table *table, const struct rtpe_frames *message);
int rtpe_del_media(struct rtpe_table *table, u32 index);
int rtpe_start_player(struct rtpe_table *table, struct rtpe_player *message);
int rtpe_get_player(struct rtpe_table *table, struct rtpe_player_statistics *statistics);
int rtpe_stop_player(struct rtpe_table *table, struct rtpe_player_statistics *statistics);
void rtpe_end_players(struct rtpe_table *table);

/* ---- proc ------------------------------------------------------------------------ */

int rtpe_proc_init(void);
void rtpe_proc_exit(void);
int rtpe_proc_add_table(struct rtpe_table *table);
void rtpe_proc_own(struct proc_dir_entry *entry);
extern const struct proc_ops rtpe_control_ops;
extern const struct proc_ops rtpe_list_ops;
extern const struct proc_ops rtpe_blist_ops;

/* ---- main --------------------------------------------------------------------------- */

extern struct workqueue_struct *rtpe_wq;
extern bool rtpe_log_errors;
extern bool rtpe_api_debug;
extern bool rtpe_print_keys;
extern unsigned int rtpe_stream_packets;
extern unsigned int rtpe_stream_seconds;
extern unsigned int rtpe_stream_bytes;
extern unsigned int rtpe_stream_memory;
extern unsigned int rtpe_media_memory;
extern int rtpe_proc_uid;
extern int rtpe_proc_gid;
extern uint rtpe_proc_mask;

#endif
