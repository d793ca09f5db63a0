/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the program and the daemon share; rtpengine/src/media/offload/ebpf/layout.rs is its mirror. */
#ifndef RTPENGINE_FORWARD_H
#define RTPENGINE_FORWARD_H

#include <linux/bpf.h>
#include <linux/types.h>

#define MAX_FORMATS 16
#define MAX_OUTPUTS 8

/* IPv4 addresses are in the first four octets, the others are zero. Three whole words: the kernel compares keys word by word. */
struct endpoint {
	__u8 address[16];
	__be16 port;
	__u16 family; /* 4 or 6 */
	__u32 reserved;
} __attribute__((aligned(8)));

/* A payload type that is forwarded. */
struct format {
	__u8 payload_type;
	__u8 reserved[3];
	__u32 clock_rate; /* Hz, 0 = unknown */
};

/* Where packets go. */
struct output {
	struct endpoint from; /* where packets leave from */
	struct endpoint to;
	__u32 ifindex;
	__u32 ssrc_mask; /* network byte order */
	__u8 ttl;
	__u8 tos;
	__u16 flags;
	struct bpf_redir_neigh next_hop; /* no family: the kernel is to look up the route */
	__u8 leaves_as[MAX_FORMATS]; /* payload types, in the order of the target's formats */
	/* Copied into records. */
	__u64 recording, stream;
	__u64 failed; /* packets that could not be copied for it */
};

enum {
	OUTPUT_STAYS_HERE = 1, /* the destination is this host */
	OUTPUT_TAP = 2,
};

enum {
	TARGET_ANY_SOURCE = 1, /* source is not looked at */
	TARGET_DATAGRAMS = 2,  /* not RTP */
	TARGET_TAP = 4,
	TARGET_TRANSLATED = 8, /* some output is of the other family */
	TARGET_LEAVING = 16,   /* nothing is forwarded any more but copies that have been made */
};

struct target {
	__u32 id;
	__u32 flags;
	struct endpoint source;
	__u32 room; /* longest UDP payload that all outputs take */
	__u16 formats_used;
	__u16 outputs_used;
	struct format formats[MAX_FORMATS];
	__u32 slot; /* FIRST_TRACKS has the track of this SSRC there; 0: TRACKS has it */
	__u32 ssrc; /* host byte order */
	__u64 recording, stream;
	__u64 tap_lost;
	struct output first;
};

/* The outputs of a target but for the first. */
struct output_key {
	__u32 target;
	__u32 index; /* from 1 */
};

#define GUARD_SOURCES 4
#define GUARD_SSRCS 8

enum {
	GUARD_OPEN = 1,	     /* nobody in particular is expected */
	GUARD_PINNED = 2,    /* others are never heard */
	GUARD_DATAGRAMS = 4, /* not RTP: anything may come */
};

/* A media port, whoever forwards what comes to it. */
struct guard {
	__u32 id; /* of who has the port */
	__u32 flags;
	struct endpoint sources[GUARD_SOURCES]; /* expected; unused ones have no family */
	__u32 ssrcs[GUARD_SSRCS];		/* host byte order */
	__u32 ssrcs_used;
	__u32 reserved;
};

struct bucket {
	__u64 refilled_ns;
	__u64 tokens;
};

/* What others may send to a port, and what of it was dropped. */
struct spray {
	__u32 id; /* of the guard */
	__u32 reserved;
	struct bucket strangers;
	struct bucket with_ssrc;
	struct bucket stun;
	struct bucket dtls;
	struct bucket new_sources;
	struct bucket newcomers;
	__u64 wrong_source;
	__u64 over_budget;
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
	__u32 flags; /* RECORD_… */
	__u32 ssrc_mask;
	__u16 length;
	__u8 is_rtp;
	__u8 leaves_as;
	__u32 reserved;
};

enum {
	RECORD_INGRESS = 1,
	RECORD_EGRESS = 2,
};

#define SMALL_PAYLOAD 256
#define LARGE_PAYLOAD 2048

#endif
