// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Players: encoded media that are sent by themselves, each packet by a timer of
 * its player, in softirq.
 *
 * Media are shared by players; they are complete when the first player begins,
 * so that nobody has to lock them.  Timers, media and players are let go of in
 * process context only, by whoever holds the table's mutex: a player that has
 * ended stays until it is stopped.
 */
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/udp.h>
#include <linux/version.h>
#include <net/dst.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>

#include "module.h"

/* Players whose packets are due within so short a time share an interrupt. */
#define SLACK_NS	500000
/* What a piece costs beside its octets. */
#define PIECE_COST	64

/* References: of the table until it is deleted, of each player. */
struct media {
	struct kref refs;
	bool complete;
	u64 cost;
	struct core_media core;
};

/* The output's lock guards what the timer changes. */
struct player {
	struct hrtimer timer;
	struct core_player core;
	struct media *media;
	struct net *net;
	u64 clear_bytes;
	u64 last_packet_us;
	struct rtpe_output output;
};

/* Of all media. */
static atomic64_t used_bytes;

/* ---- media ------------------------------------------------------------------ */

static void release_media(struct kref *refs)
{
	struct media *media = container_of(refs, struct media, refs);
	struct core_piece *piece = media->core.first;

	while (piece) {
		struct core_piece *next = piece->next;

		kvfree(piece);
		piece = next;
	}
	atomic64_sub(media->cost, &used_bytes);
	kfree(media);
}

int rtpe_add_media(struct rtpe_table *table, struct rtpe_media *message)
{
	struct media *media;
	int err = core_validate_media(message);

	if (err)
		return err;
	media = kzalloc(sizeof(*media), GFP_KERNEL_ACCOUNT);
	if (!media)
		return -ENOMEM;
	kref_init(&media->refs);
	media->core.clock_rate = message->clock_rate;
	err = xa_alloc(&table->media, &message->index, media, XA_LIMIT(0, RTPE_MAX_MEDIA - 1),
		       GFP_KERNEL_ACCOUNT);
	if (err) {
		kfree(media);
		return err == -EBUSY ? -ENOSPC : err;
	}
	table->media_count++;
	return 0;
}

int rtpe_add_frames(struct rtpe_table *table, const struct rtpe_frames *message)
{
	struct media *media = xa_load(&table->media, message->media);
	size_t n = message->header.length - sizeof(*message);
	u64 cost = n + PIECE_COST;
	struct core_piece *piece;
	int err;

	if (!media)
		return -ENOENT;
	if (media->complete)
		return -EBUSY;
	err = core_validate_frames(message, message->header.length, media->core.clock_rate);
	if (err)
		return err;
	if (message->count > U32_MAX - media->core.frames)
		return -ENOSPC;
	if (atomic64_add_return(cost, &used_bytes) > (u64)READ_ONCE(rtpe_media_memory) << 20) {
		atomic64_sub(cost, &used_bytes);
		return -ENOSPC;
	}
	piece = kvmalloc(struct_size(piece, octets, n), GFP_KERNEL_ACCOUNT);
	if (!piece) {
		atomic64_sub(cost, &used_bytes);
		return -ENOMEM;
	}
	media->cost += cost;
	piece->count = message->count;
	piece->length = n;
	memcpy(piece->octets, message + 1, n);
	core_media_append(&media->core, piece);
	return 0;
}

int rtpe_del_media(struct rtpe_table *table, u32 index)
{
	struct media *media = xa_erase(&table->media, index);

	if (!media)
		return -ENOENT;
	table->media_count--;
	kref_put(&media->refs, release_media);
	return 0;
}

/* ---- packets ------------------------------------------------------------------ */

static struct sk_buff *new_packet(const struct player *player, const u8 *header,
				  const struct core_frame *frame)
{
	const struct core_srtp *encrypt = player->output.encrypt;
	u32 room = LL_MAX_HEADER + sizeof(struct ipv6hdr) + sizeof(struct udphdr);
	u32 overhead = encrypt ? core_srtp_rtp_overhead(encrypt) : 0;
	struct sk_buff *skb;

	skb = alloc_skb(room + CORE_RTP_HEADER + frame->length + overhead, GFP_ATOMIC);
	if (!skb)
		return NULL;
	skb_reserve(skb, room);
	skb_put_data(skb, header, CORE_RTP_HEADER);
	skb_put_data(skb, frame->payload, frame->length);
	return skb;
}

/* With the lock: a packet that is ready to leave, or NULL. */
static struct sk_buff *make_packet(struct player *player, const u8 *header,
				   const struct core_frame *frame, struct rtpe_way *way)
{
	struct rtpe_output *output = &player->output;
	struct sk_buff *skb = new_packet(player, header, frame);
	int n;

	if (!skb)
		return NULL;
	n = rtpe_route(output, player->net, way);
	if (!n) {
		n = skb->len;
		if (output->encrypt)
			n = core_protect_rtp(output->encrypt, &output->sent[0], skb->data, n);
	}
	if (n < 0) {
		kfree_skb(skb);
		return NULL;
	}
	skb_put(skb, n - skb->len);
	return skb;
}

/* A packet, sent if that is possible; false at the end. */
static bool send_next(struct player *player)
{
	struct rtpe_output *output = &player->output;
	struct rtpe_way way = { .net = player->net, .tos = output->tos };
	u8 header[CORE_RTP_HEADER];
	struct core_frame frame;
	struct sk_buff *skb;
	u32 octets = 0;
	int err = -ENOBUFS;

	spin_lock(&output->lock);
	if (!core_player_turn(&player->core, ktime_get_ns(), &frame, header)) {
		spin_unlock(&output->lock);
		return false;
	}
	skb = make_packet(player, header, &frame, &way);
	spin_unlock(&output->lock);
	if (likely(skb)) {
		octets = skb->len;
		err = rtpe_transmit(skb, output, &way);
	}
	spin_lock(&output->lock);
	if (likely(!err)) {
		output->counters.packets++;
		output->counters.bytes += octets;
		player->clear_bytes += CORE_RTP_HEADER + frame.length;
		player->last_packet_us = ktime_get_real_ns() / NSEC_PER_USEC;
	} else {
		output->counters.errors++;
	}
	spin_unlock(&output->lock);
	return true;
}

static enum hrtimer_restart player_turn(struct hrtimer *timer)
{
	struct player *player = container_of(timer, struct player, timer);
	bool goes_on;

	rcu_read_lock();
	goes_on = send_next(player);
	rcu_read_unlock();
	if (!goes_on)
		return HRTIMER_NORESTART;
	/* Only this function changes it. */
	hrtimer_set_expires_range_ns(timer, ns_to_ktime(player->core.due_ns), SLACK_NS);
	return HRTIMER_RESTART;
}

static void init_timer(struct hrtimer *timer)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(timer, player_turn, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_SOFT);
#else
	hrtimer_init(timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_SOFT);
	timer->function = player_turn;
#endif
}

/* ---- players -------------------------------------------------------------------- */

/* Its timer does not run. */
static void free_player(struct player *player)
{
	dst_release(player->output.dst);
	rtpe_srtp_free(player->output.encrypt);
	if (player->net)
		put_net(player->net);
	if (player->media)
		kref_put(&player->media->refs, release_media);
	kfree(player);
}

static int take_message(struct player *player, struct media *media,
			const struct rtpe_player *message)
{
	struct core_player *core = &player->core;
	struct rtpe_output *output = &player->output;

	spin_lock_init(&output->lock);
	init_timer(&player->timer);
	output->source = message->source;
	output->destination = message->destination;
	output->tos = message->tos;
	if (message->flags & RTPE_PLAYER_INDEX)
		core_window_behind(&output->sent[0], message->rtp_index);
	core->plays = message->plays;
	core->is_limited = message->ticks;
	core->ticks = message->ticks;
	core->due_ns = ktime_get_ns() + message->delay_ns;
	core->ssrc = message->ssrc;
	core->timestamp = message->timestamp;
	core->sequence = message->sequence;
	core->payload_type = message->payload_type;
	core->marker = message->flags & RTPE_PLAYER_MARKER;
	if (!core_player_begin(core, &media->core, message->first_frame))
		return -ERANGE;
	if (core_has_srtp(&message->encrypt)) {
		struct core_srtp *encrypt = rtpe_srtp_new(&message->encrypt);

		if (IS_ERR(encrypt))
			return PTR_ERR(encrypt);
		output->encrypt = encrypt;
	}
	kref_get(&media->refs);
	player->media = media;
	player->net = get_net(current->nsproxy->net_ns);
	return 0;
}

int rtpe_start_player(struct rtpe_table *table, struct rtpe_player *message)
{
	struct media *media = xa_load(&table->media, message->media);
	struct player *player;
	int err = core_validate_player(message);

	if (err)
		return err;
	if (!media)
		return -ENOENT;
	player = kzalloc(sizeof(*player), GFP_KERNEL_ACCOUNT);
	if (!player)
		return -ENOMEM;
	err = take_message(player, media, message);
	if (!err)
		err = xa_alloc(&table->players, &message->index, player,
			       XA_LIMIT(0, RTPE_MAX_PLAYERS - 1), GFP_KERNEL_ACCOUNT);
	if (err) {
		free_player(player);
		return err == -EBUSY ? -ENOSPC : err;
	}
	table->players_count++;
	media->complete = true;
	hrtimer_start_range_ns(&player->timer, ns_to_ktime(player->core.due_ns), SLACK_NS,
			       HRTIMER_MODE_ABS_SOFT);
	return 0;
}

/* Zeroes what is not known. */
static void fill_statistics(struct player *player, struct rtpe_player_statistics *to)
{
	const struct core_player *core = &player->core;
	struct rtpe_output *output = &player->output;
	u32 index = to->index;
	u64 now;

	memset(to, 0, sizeof(*to));
	to->header.magic = RTPE_ABI_MAGIC;
	to->header.version = RTPE_ABI_VERSION;
	to->header.command = RTPE_GET_PLAYER;
	to->header.length = sizeof(*to);
	to->index = index;
	spin_lock_bh(&output->lock);
	now = ktime_get_ns();
	to->counters = output->counters;
	to->clear_bytes = player->clear_bytes;
	to->frames = core->frames;
	to->due_ns = core->due_ns > now ? core->due_ns - now : 0;
	to->last_packet_us = player->last_packet_us;
	to->timestamp = core->timestamp;
	to->sequence = core->sequence;
	if (core->marker)
		to->flags |= RTPE_PLAYER_MARKER;
	if (core->ended)
		to->flags |= RTPE_PLAYER_ENDED;
	if (output->sent[0].known) {
		to->flags |= RTPE_PLAYER_INDEX;
		to->rtp_index = output->sent[0].highest;
	}
	spin_unlock_bh(&output->lock);
}

int rtpe_get_player(struct rtpe_table *table, struct rtpe_player_statistics *statistics)
{
	struct player *player = xa_load(&table->players, statistics->index);

	if (!player)
		return -ENOENT;
	fill_statistics(player, statistics);
	return 0;
}

int rtpe_stop_player(struct rtpe_table *table, struct rtpe_player_statistics *statistics)
{
	struct player *player = xa_erase(&table->players, statistics->index);

	if (!player)
		return -ENOENT;
	table->players_count--;
	hrtimer_cancel(&player->timer);
	fill_statistics(player, statistics);
	free_player(player);
	return 0;
}

/* All of them, and all media. */
void rtpe_end_players(struct rtpe_table *table)
{
	struct player *player;
	struct media *media;
	unsigned long index;

	xa_for_each(&table->players, index, player) {
		xa_erase(&table->players, index);
		hrtimer_cancel(&player->timer);
		free_player(player);
	}
	xa_for_each(&table->media, index, media) {
		xa_erase(&table->media, index);
		kref_put(&media->refs, release_media);
	}
	table->players_count = 0;
	table->media_count = 0;
}
