/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the program and the daemon share; rtpengine/src/media/offload/ebpf/layout.rs is its mirror. */
#ifndef RTPENGINE_FORWARD_H
#define RTPENGINE_FORWARD_H

#include <linux/bpf.h>
#include <linux/types.h>

#define MAX_FORMATS 16

/* IPv4 addresses are in the first four octets, the others are zero. */
struct endpoint {
	__u8 address[16];
	__be16 port;
	__u16 family; /* 4 or 6 */
};

/* A payload type that is forwarded. */
struct format {
	__u8 payload_type;
	__u8 leaves_as;
	__u16 reserved;
	__u32 clock_rate; /* Hz, 0 = unknown */
};

enum {
	TARGET_ANY_SOURCE = 1,	 /* source is not looked at */
	TARGET_PINNED = 2,	 /* packets of other sources are dropped */
	TARGET_DATAGRAMS = 4,	 /* not RTP */
	TARGET_STAYS_HERE = 8,	 /* the destination is this host */
	TARGET_TAP_INGRESS = 16,
	TARGET_TAP_EGRESS = 32,
	TARGET_GUARD = 64,	 /* nothing is forwarded; only others' packets are looked at */
};

struct target {
	__u32 id;
	__u32 flags;
	struct endpoint source;
	struct endpoint from; /* where packets leave from */
	struct endpoint to;
	__u32 ifindex;
	__u32 mtu; /* of that interface */
	__u32 ssrc_mask; /* network byte order */
	__u8 ttl;
	__u8 tos;
	__u16 formats_used;
	struct format formats[MAX_FORMATS];
	__u32 reserved;
	/* Copied into records. */
	__u64 recording_in, stream_in;
	__u64 recording_out, stream_out;
	/* The shield: packets of others that may go up, and those that were dropped. */
	__u64 refilled_ns;
	__u64 tokens;
	__u64 wrong_source;
	__u64 tap_lost;
};

/* One SSRC of a target; 0 for datagrams. */
struct track_key {
	__u32 target;
	__u32 ssrc; /* host byte order */
};

struct track {
	struct bpf_spin_lock lock;
	__u32 clock_rate;
	__u32 timestamp;
	__u32 payload_type;
	__u64 packets;
	__u64 octets;
	__s64 lost;
	__u64 duplicates;
	__u64 highest; /* extended sequence number */
	__u64 window;  /* bit i: highest - i was received */
	__u64 arrival_us; /* CLOCK_MONOTONIC */
	__u64 jitter_16us;
};

/* A copy of a packet, before it was rewritten: this head and the UDP payload. */
struct record {
	__u64 recording_in, stream_in;
	__u64 recording_out, stream_out;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	struct endpoint source;
	struct endpoint local;
	struct endpoint from;
	struct endpoint to;
	__u32 flags; /* TARGET_TAP_… */
	__u32 ssrc_mask;
	__u16 length;
	__u8 is_rtp;
	__u8 leaves_as;
	__u32 reserved;
};

#define SMALL_PAYLOAD 256
#define LARGE_PAYLOAD 2048

#endif
