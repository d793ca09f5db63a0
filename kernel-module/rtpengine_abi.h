/* SPDX-License-Identifier: GPL-2.0-or-later WITH Linux-syscall-note */
/*
 * Messages between the relay daemon and xt_RTPENGINE.
 *
 * One message is one write() to /proc/rtpengine/<id>/control, or, where there
 * is a reply, one read() whose buffer holds the message and is overwritten by
 * the reply.  Every message begins with struct rtpe_header; its length has to
 * be that of the structure, and that of the system call.
 *
 * All integers have the machine's byte order (little-endian: the module does
 * not build for others) and a fixed width, structures have no implicit padding
 * and no pointers, so that a 32-bit daemon can talk to a 64-bit kernel.
 * Reserved fields must be zero.
 *
 * A change of any layout here needs a new RTPE_ABI_VERSION.
 */
#ifndef RTPENGINE_ABI_H
#define RTPENGINE_ABI_H

#include <linux/types.h>

#define RTPE_ABI_MAGIC		0x4b505452u	/* "RTPK" */
#define RTPE_ABI_VERSION	1

#define RTPE_MAX_TABLES		64
#define RTPE_MAX_OUTPUTS	32
#define RTPE_MAX_SSRCS		4
#define RTPE_MAX_PAYLOADS	32
#define RTPE_MAX_GROUPS		8
#define RTPE_MAX_EXTENSIONS	32
#define RTPE_MAX_PATTERN	16
#define RTPE_MAX_MID		32
#define RTPE_MAX_KEY		32
#define RTPE_MAX_SALT		14
#define RTPE_MAX_MKI		256
#define RTPE_MAX_NAME		256		/* with the final NUL */
#define RTPE_MAX_PACKET		65535
#define RTPE_MAX_FRAME		8192		/* octets of a payload that players send */
#define RTPE_MAX_CLOCK_RATE	1000000

#define RTPE_NO_INDEX		0xffffffffu

/* Mark of a packet that the kernel has forwarded and passed up as well. */
#define RTPE_MARK_HANDLED	0x52545045u

enum rtpe_command {
	RTPE_INIT		= 1,	/* read:  struct rtpe_init */
	RTPE_ADD_TARGET		= 2,	/* write: struct rtpe_target */
	RTPE_ADD_DESTINATION	= 3,	/* write: struct rtpe_destination */
	RTPE_DEL_TARGET		= 4,	/* read:  struct rtpe_statistics */
	RTPE_GET_STATISTICS	= 5,	/* read:  struct rtpe_statistics */
	RTPE_ADD_CALL		= 6,	/* read:  struct rtpe_call */
	RTPE_DEL_CALL		= 7,	/* write: struct rtpe_call */
	RTPE_ADD_STREAM		= 8,	/* read:  struct rtpe_stream */
	RTPE_DEL_STREAM		= 9,	/* write: struct rtpe_stream */
	RTPE_PACKET		= 10,	/* write: struct rtpe_packet, octets */
	RTPE_GET_STREAM		= 11,	/* read:  struct rtpe_stream */
	RTPE_ADD_MEDIA		= 12,	/* read:  struct rtpe_media */
	RTPE_ADD_FRAMES		= 13,	/* write: struct rtpe_frames, frames */
	RTPE_DEL_MEDIA		= 14,	/* write: struct rtpe_media */
	RTPE_START_PLAYER	= 15,	/* read:  struct rtpe_player */
	RTPE_GET_PLAYER		= 16,	/* read:  struct rtpe_player_statistics */
	RTPE_STOP_PLAYER	= 17,	/* read:  struct rtpe_player_statistics */
};

struct rtpe_header {
	__u32	magic;
	__u16	version;
	__u16	command;
	__u32	length;			/* of the message, header included */
	__u32	reserved;
};

/*
 * The one message whose layout never changes.  The module answers with its own
 * version even if it is another one (the system call then succeeds, so that the
 * daemon can say which versions met); all other commands fail with EPROTO until
 * an INIT with the right version came.
 */
struct rtpe_init {
	struct rtpe_header header;
	__u32	module_abi;		/* reply */
	__u32	max_command;		/* reply: highest command known */
	__u32	features;		/* reply: RTPE_FEATURE_* */
	__u32	reserved;
	char	module_version[32];	/* reply */
};

#define RTPE_FEATURE_SRTP	0x1	/* AES-CM, NULL, HMAC-SHA1 */
#define RTPE_FEATURE_F8		0x2
#define RTPE_FEATURE_GCM	0x4
#define RTPE_FEATURE_PLAYERS	0x8	/* ADD_MEDIA to STOP_PLAYER */

struct rtpe_address {
	__u16	family;			/* 4, 6; 0: none */
	__u16	port;
	__u32	reserved;
	__u8	ip[16];			/* network order; IPv4 in the first four */
};

enum rtpe_cipher {
	RTPE_CIPHER_NULL	= 0,
	RTPE_CIPHER_AES_CM	= 1,	/* the key's length says which AES */
	RTPE_CIPHER_AES_F8	= 2,
	RTPE_CIPHER_AES_GCM	= 3,
};

enum rtpe_hmac {
	RTPE_HMAC_NULL		= 0,
	RTPE_HMAC_SHA1		= 1,
};

#define RTPE_CRYPTO_PLAIN_RTP	0x1	/* UNENCRYPTED_SRTP */
#define RTPE_CRYPTO_PLAIN_RTCP	0x2	/* UNENCRYPTED_SRTCP */
#define RTPE_CRYPTO_FLAGS	0x3

/* cipher and hmac both NULL: packets are not SRTP at all. */
struct rtpe_crypto {
	__u8	cipher;
	__u8	hmac;
	__u8	rtp_tag;		/* octets: 0, 4, 10; GCM: 16 */
	__u8	rtcp_tag;		/* octets: 10; GCM: 16 */
	__u8	key_length;		/* 16, 24, 32; NULL: 16 */
	__u8	salt_length;		/* 14; GCM: 12 */
	__u8	flags;
	__u8	reserved;
	__u32	mki_length;		/* 0 to 255 */
	__u32	reserved2;
	__u8	key[RTPE_MAX_KEY];
	__u8	salt[RTPE_MAX_SALT];
	__u8	reserved3[2];
	__u8	mki[RTPE_MAX_MKI];
};

/* Where the numbers of one SSRC stand, for handing a stream over both ways. */
struct rtpe_ssrc {
	__u32	ssrc;
	__u32	flags;
	__u64	rtp_index;		/* highest extended sequence number */
	__u32	rtcp_index;		/* highest (in), next (out) SRTCP index */
	__u8	group;			/* input: media group */
	__u8	reserved[3];
};

#define RTPE_SSRC_USED		0x1	/* the entry is in use */
#define RTPE_SSRC_RTP		0x2	/* rtp_index is known */
#define RTPE_SSRC_RTCP		0x4	/* rtcp_index is known */
#define RTPE_SSRC_FLAGS		0x7

/* What is known of the packets of one SSRC, handed over with it. */
struct rtpe_track {
	__u64	highest;		/* extended sequence number */
	__u64	window;			/* bit i: highest - i was received */
	__u64	arrival_us;		/* of the last packet, since the epoch */
	__u64	jitter_16us;		/* RFC 3550, in microseconds, times 16 */
	__u32	timestamp;
	__u32	clock_rate;		/* of the last payload type; 0: unknown */
	__u8	payload_type;
	__u8	started;		/* 0: there was no packet yet */
	__u8	reserved[6];
};

struct rtpe_payload {
	__u8	payload_type;
	__u8	group;
	__u16	reserved;
	__u32	clock_rate;
};

struct rtpe_mid {
	__u8	length;			/* 0: the group has none */
	__u8	reserved[3];
	char	text[RTPE_MAX_MID];
};

enum rtpe_mismatch {
	RTPE_MISMATCH_IGNORE	= 0,
	RTPE_MISMATCH_DROP	= 1,
	RTPE_MISMATCH_PROPAGATE	= 2,	/* leave it to user space */
};

#define RTPE_TARGET_RTP			0x0001
#define RTPE_TARGET_RTP_ONLY		0x0002
#define RTPE_TARGET_RTCP		0x0004
#define RTPE_TARGET_RTCP_FORWARD	0x0008
#define RTPE_TARGET_RTCP_COPY		0x0010	/* with RTCP_FORWARD: passed up too, marked */
#define RTPE_TARGET_DTLS		0x0020
#define RTPE_TARGET_STUN		0x0040
#define RTPE_TARGET_PT_FILTER		0x0080
#define RTPE_TARGET_SSRC_REQUIRED	0x0100
#define RTPE_TARGET_TRACK_SSRC		0x0200
#define RTPE_TARGET_RTP_STATS		0x0400
#define RTPE_TARGET_INTERCEPT		0x0800
#define RTPE_TARGET_NON_FORWARDING	0x1000
#define RTPE_TARGET_BLACKHOLE		0x2000
#define RTPE_TARGET_EXTMAP		0x4000
#define RTPE_TARGET_FLAGS		0x7fff

struct rtpe_target {
	struct rtpe_header header;
	struct rtpe_address local;
	struct rtpe_address expected;
	__u32	flags;
	__u32	stream;			/* INTERCEPT: index of ADD_STREAM */
	__u8	mismatch;
	__u8	outputs;
	__u8	payloads;
	__u8	groups;			/* 0 and 1: no groups */
	__u8	mid_extension;		/* 0: none */
	__u8	reserved[3];
	struct rtpe_ssrc ssrc[RTPE_MAX_SSRCS];
	struct rtpe_track track[RTPE_MAX_SSRCS];
	struct rtpe_payload payload[RTPE_MAX_PAYLOADS];	/* ascending */
	struct rtpe_mid mid[RTPE_MAX_GROUPS];
	struct rtpe_crypto decrypt;
};

enum rtpe_payload_action {
	RTPE_PAYLOAD_PASS	= 0,
	RTPE_PAYLOAD_BLACKHOLE	= 1,
	RTPE_PAYLOAD_REPLACE	= 2,
	RTPE_PAYLOAD_RENAME	= 3,	/* leaves under another number */
};

struct rtpe_output_payload {
	__u8	payload_type;
	__u8	action;
	__u8	pattern_length;		/* REPLACE: 1 to 16 */
	__u8	renamed;		/* RENAME: the other number */
	__u16	min_length;		/* shorter payloads are dropped */
	__u16	reserved2;
	__u8	pattern[RTPE_MAX_PATTERN];
};

/* How the input SSRC of the same position is sent on. */
struct rtpe_output_ssrc {
	struct rtpe_ssrc out;
	__u32	timestamp_offset;	/* added */
	__u16	sequence_offset;	/* added */
	__u16	reserved;
};

#define RTPE_OUTPUT_SSRC_SUBST	0x1
#define RTPE_OUTPUT_EXTMAP	0x2	/* only the listed extensions pass */
#define RTPE_OUTPUT_RTCP	0x4	/* this output gets RTCP, not RTP */
#define RTPE_OUTPUT_TOS		0x8	/* tos is set; else that of the input */
#define RTPE_OUTPUT_FLAGS	0xf

struct rtpe_destination {
	struct rtpe_header header;
	struct rtpe_address local;	/* the target */
	struct rtpe_address source;
	struct rtpe_address destination;
	__u32	number;
	__u32	flags;
	__u8	tos;
	__u8	media;			/* group whose packets it gets */
	__u8	payloads;
	__u8	extensions;
	__u8	reserved[4];
	struct rtpe_output_ssrc ssrc[RTPE_MAX_SSRCS];
	struct rtpe_output_payload payload[RTPE_MAX_PAYLOADS];	/* ascending */
	__u8	extension[RTPE_MAX_EXTENSIONS];			/* ascending */
	struct rtpe_crypto encrypt;
};

struct rtpe_counters {
	__u64	packets;
	__u64	bytes;			/* of UDP payload */
	__u64	errors;
};

struct rtpe_ssrc_statistics {
	struct rtpe_ssrc ssrc;
	struct rtpe_track track;
	__u64	packets;
	__u64	bytes;			/* of UDP payload, in the clear */
	__s64	lost;			/* falls when late packets come */
	__u64	duplicates;
};

struct rtpe_output_statistics {
	struct rtpe_counters counters;
	struct rtpe_ssrc ssrc[RTPE_MAX_SSRCS];
};

/* Why packets were not forwarded, and what became of them. */
enum rtpe_reason {
	RTPE_REASON_SOURCE	= 0,	/* wrong source, dropped or passed up */
	RTPE_REASON_PAYLOAD	= 1,	/* unknown payload type */
	RTPE_REASON_SSRC	= 2,	/* unknown SSRC */
	RTPE_REASON_AUTHENTIC	= 3,	/* wrong tag, passed up */
	RTPE_REASON_REPLAY	= 4,	/* index used before, dropped */
	RTPE_REASON_MALFORMED	= 5,
	RTPE_REASON_BLACKHOLE	= 6,
	RTPE_REASON_SEND	= 7,	/* no route, no memory, no key left */
	RTPE_REASONS		= 8,
};

/* Reply of GET_STATISTICS and DEL_TARGET, record of the file blist. */
struct rtpe_statistics {
	struct rtpe_header header;
	struct rtpe_address local;
	struct rtpe_counters input;
	__u64	last_packet_us;
	__u64	tap_dropped;		/* of its stream, since the target was added */
	__u64	reasons[RTPE_REASONS];
	__u64	payload_packets[RTPE_MAX_PAYLOADS];
	__u64	payload_bytes[RTPE_MAX_PAYLOADS];
	__u8	payload_type[RTPE_MAX_PAYLOADS];
	__u8	payloads;
	__u8	outputs;
	__u8	last_tos;
	__u8	reserved[5];
	struct rtpe_ssrc_statistics ssrc[RTPE_MAX_SSRCS];
	struct rtpe_output_statistics output[RTPE_MAX_OUTPUTS];
};

struct rtpe_call {
	struct rtpe_header header;
	__u32	index;			/* reply of ADD, argument of DEL */
	__u32	reserved;
	char	name[RTPE_MAX_NAME];
};

#define RTPE_STREAM_STAMP	0x1	/* time of arrival behind each packet */
#define RTPE_STREAM_FLAGS	0x1

struct rtpe_stream {
	struct rtpe_header header;
	__u32	call;
	__u32	index;			/* reply of ADD, argument of DEL */
	__u32	max_packets;		/* 0: the module's parameters */
	__u32	flags;
	__u32	waiting;		/* reply of GET: packets */
	__u32	readers;		/* reply of GET */
	__u64	dropped;		/* reply of GET: packets that nobody read in time */
	char	name[RTPE_MAX_NAME];
};

/* Followed by the packet, from the IP header on. */
struct rtpe_packet {
	struct rtpe_header header;
	__u32	stream;
	__u32	reserved;
	__u64	arrival_us;		/* since the epoch; 0: now */
};

/*
 * Encoded media for players: made, filled, and complete as soon as a player has
 * begun with it.  Media that are deleted go with the last player that sends
 * them.  Media and players end with the open file that made them: nobody else
 * could stop them.
 */
struct rtpe_media {
	struct rtpe_header header;
	__u32	index;			/* reply of ADD, argument of DEL */
	__u32	clock_rate;		/* ADD: of RTP, in Hz */
};

/* Followed by frames, each of which is followed by its payload, without gaps. */
struct rtpe_frames {
	struct rtpe_header header;
	__u32	media;
	__u32	count;
};

struct rtpe_frame {
	__u32	duration;		/* in units of the RTP clock: 1 ms to 60 s */
	__u16	length;			/* octets of payload */
	__u16	reserved;
};

#define RTPE_PLAYER_MARKER	0x1	/* the next packet has the marker */
#define RTPE_PLAYER_INDEX	0x2	/* rtp_index is known */
#define RTPE_PLAYER_ENDED	0x4	/* reply: nothing is left to be sent */

struct rtpe_player {
	struct rtpe_header header;
	struct rtpe_address source;
	struct rtpe_address destination;
	__u64	delay_ns;		/* until the first packet, up to 60 s */
	__u64	ticks;			/* units of the RTP clock that are played; 0: no limit */
	__u32	media;
	__u32	index;			/* reply */
	__u32	first_frame;		/* of the first play */
	__u32	plays;			/* the first one included; 0: without end */
	__u32	ssrc;
	__u32	timestamp;		/* of the first packet, as the next two */
	__u16	sequence;
	__u8	payload_type;
	__u8	tos;
	__u32	flags;
	__u64	rtp_index;		/* highest SRTP index used before */
	struct rtpe_crypto encrypt;
};

/* Those of STOP_PLAYER are final: nothing is on its way any more. */
struct rtpe_player_statistics {
	struct rtpe_header header;
	__u32	index;
	__u32	flags;			/* reply, as everything below */
	struct rtpe_counters counters;	/* octets as sent, that is with those of SRTP */
	__u64	clear_bytes;		/* of these packets, without those of SRTP */
	__u64	frames;			/* that were due, sent or not */
	__u64	rtp_index;
	__u64	due_ns;			/* until the next packet, or the end */
	__u64	last_packet_us;		/* since the epoch; 0: none was sent */
	__u32	timestamp;		/* of the next packet */
	__u16	sequence;
	__u16	reserved;
};

#endif
