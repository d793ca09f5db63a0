/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of the module that knows packets but not the kernel.
 *
 * Everything here works on memory that the caller owns, allocates nothing,
 * takes no lock and never reads outside the lengths that it is given.  It is
 * compiled into the module and into the tests in tests/kernel/core.
 */
#ifndef RTPE_CORE_H
#define RTPE_CORE_H

#include "base.h"
#include "../rtpengine_abi.h"

/* ---- packet.c: what a datagram is ------------------------------------- */

#define CORE_RTP_HEADER		12
#define CORE_RTCP_HEADER	8

struct core_rtp {
	u32 ssrc;
	u32 timestamp;
	u16 sequence;
	u8 payload_type;
	bool marker;
	u16 extension;		/* offset of the first element; 0: none */
	u16 extension_length;
	u16 extension_profile;
	u16 header;		/* octets before the payload */
};

bool core_is_stun(const u8 *p, size_t n);
bool core_is_dtls(const u8 *p, size_t n);
bool core_is_rtcp(const u8 *p, size_t n);
bool core_is_feedback(const u8 *p, size_t n);
bool core_parse_rtp(const u8 *p, size_t n, struct core_rtp *rtp);

/* Element with this id: its offset and length; 0: there is none. */
u16 core_find_extension(const u8 *p, const struct core_rtp *rtp, u8 id, u8 *length);
/* Overwrites elements that are not in the ascending list with padding. */
void core_filter_extensions(u8 *p, const struct core_rtp *rtp, const u8 *allowed, u8 count);

/* Position in an ascending list, or -1. */
int core_find_payload(const struct rtpe_payload *list, u8 count, u8 payload_type);
int core_find_output_payload(const struct rtpe_output_payload *list, u8 count, u8 payload_type);

/* ---- rewrite.c: what an output changes --------------------------------- */

void core_rewrite_rtp(u8 *p, const struct rtpe_output_ssrc *to);
void core_rewrite_rtcp(u8 *p, const struct rtpe_output_ssrc *to);
void core_fill_payload(u8 *p, size_t header, size_t n, const u8 *pattern, u8 length);

/* ---- window.c: packet indices and replays ------------------------------ */

struct core_window {
	u64 highest;
	u64 used[2];		/* bit i: highest - i was used */
	bool known;
};

#define CORE_WINDOW		128
#define CORE_LAST_RTP		((1ull << 48) - 1)
#define CORE_LAST_RTCP		((1ull << 31) - 1)

void core_window_behind(struct core_window *w, u64 index);
bool core_window_index(const struct core_window *w, u16 sequence, u64 *index);
bool core_window_used(const struct core_window *w, u64 index);
void core_window_mark(struct core_window *w, u64 index);

/* ---- account.c: loss and jitter ---------------------------------------- */

struct core_account {
	struct rtpe_track track;
	u64 packets;
	u64 bytes;
	s64 lost;
	u64 duplicates;
};

void core_account_rtp(struct core_account *a, const struct core_rtp *rtp, size_t octets,
		      u64 now_us, u32 clock_rate);

/* ---- srtp.c: layout of SRTP and SRTCP, RFC 3711 and 7714 ---------------- */

struct core_keys;		/* of the platform: session keys of RTP or RTCP */

/* The platform's primitives. 0 or a negative error. */
int core_cm(struct core_keys *keys, u8 iv[16], u8 *p, size_t n);
int core_f8(struct core_keys *keys, const u8 iv[16], u8 *p, size_t n);
int core_hmac(struct core_keys *keys, const u8 *p, size_t n, const u8 *behind, size_t behind_n,
	      u8 mac[20]);
/* The tag stands behind p; what fails to open is left as it came. */
int core_gcm_seal(struct core_keys *keys, const u8 nonce[12], const u8 *aad, size_t aad_n,
		  u8 *p, size_t n);
int core_gcm_open(struct core_keys *keys, const u8 nonce[12], const u8 *aad, size_t aad_n,
		  u8 *p, size_t n);

struct core_srtp {
	struct core_keys *rtp;
	struct core_keys *rtcp;
	u8 rtp_salt[RTPE_MAX_SALT];
	u8 rtcp_salt[RTPE_MAX_SALT];
	u8 cipher;
	u8 rtp_tag;
	u8 rtcp_tag;
	bool rtp_encrypted;
	bool rtcp_encrypted;
	u16 mki_length;
	u8 mki[RTPE_MAX_MKI];
};

#define CORE_GCM_TAG		16
#define CORE_SRTCP_INDEX	4

static inline size_t core_srtp_rtp_overhead(const struct core_srtp *s)
{
	return (size_t)s->rtp_tag + s->mki_length;
}

static inline size_t core_srtp_rtcp_overhead(const struct core_srtp *s)
{
	return (size_t)s->rtcp_tag + CORE_SRTCP_INDEX + s->mki_length;
}

/*
 * The new length, or -EMSGSIZE (truncated), -EBADMSG (not authentic; the packet
 * is as it was), -EALREADY (index used before), -EKEYEXPIRED, or an error of
 * the platform.  Protecting needs room for the overhead behind the packet.
 */
int core_protect_rtp(struct core_srtp *s, struct core_window *w, u8 *p, size_t n);
int core_unprotect_rtp(struct core_srtp *s, struct core_window *w, u8 *p, size_t n);
int core_protect_rtcp(struct core_srtp *s, u32 *index, u8 *p, size_t n);
int core_unprotect_rtcp(struct core_srtp *s, struct core_window *w, u8 *p, size_t n);

/* Initialisation vector of the key derivation for a label, RFC 3711 4.3. */
void core_derivation_iv(const struct rtpe_crypto *crypto, u8 label, u8 iv[16]);

/* ---- validate.c: what a daemon may say ---------------------------------- */

static inline bool core_has_srtp(const struct rtpe_crypto *crypto)
{
	return crypto->cipher != RTPE_CIPHER_NULL || crypto->hmac != RTPE_HMAC_NULL;
}

int core_validate_header(const struct rtpe_header *header, size_t n);
size_t core_message_size(u16 command);
int core_validate_target(const struct rtpe_target *target);
int core_validate_destination(const struct rtpe_destination *destination);
int core_validate_name(const char *name);
int core_validate_media(const struct rtpe_media *media);
/* n: octets of the whole message. */
int core_validate_frames(const struct rtpe_frames *message, size_t n, u32 clock_rate);
int core_validate_player(const struct rtpe_player *player);

/* ---- queue.c: packets that wait for a reader ---------------------------- */

struct core_packet {
	struct core_packet *next;
	u64 arrival_us;
	u32 length;
	u8 octets[];
};

struct core_queue {
	struct core_packet *first;
	struct core_packet *last;
	u64 bytes;
	u32 packets;
	u64 dropped;
	/* 0: no limit */
	u32 max_packets;
	u32 max_bytes;
	u64 max_age_us;
};

/* What a waiting packet costs beside its octets. */
#define CORE_PACKET_COST	64

/* Appends; gives back the chain of old packets that had to go. */
struct core_packet *core_queue_push(struct core_queue *q, struct core_packet *packet);
struct core_packet *core_queue_pop(struct core_queue *q);

/* A packet as readers get it: lengths and checksums of IP and UDP made right. */
void core_finish_packet(u8 *p, size_t n);

/* ---- player.c: media that are sent by themselves ------------------------- */

/* Frames as they came in one command; core_validate_frames() was content with them. */
struct core_piece {
	struct core_piece *next;
	u32 count;
	u32 length;
	u8 octets[];
};

struct core_media {
	struct core_piece *first;
	struct core_piece *last;
	u32 clock_rate;
	u32 frames;
};

struct core_frame {
	const u8 *payload;
	u32 duration;
	u16 length;
};

struct core_player {
	const struct core_media *media;
	const struct core_piece *piece;	/* of the next frame; NULL: the next play */
	u32 at;
	u32 plays;		/* left, the present one included; 0: without end */
	bool is_limited;
	u64 ticks;		/* left, if it is limited */
	u64 due_ns;
	u64 frames;
	u32 ssrc;
	u32 timestamp;
	u16 sequence;
	u8 payload_type;
	bool marker;
	bool ended;
};

/* A packet that is later than this is a gap; until then those that follow catch up. */
#define CORE_UNDER_RUN_NS	60000000ull

void core_media_append(struct core_media *media, struct core_piece *piece);
/* due_ns and everything of the packets are the caller's; false: there is no such frame. */
bool core_player_begin(struct core_player *player, const struct core_media *media, u32 first_frame);
/*
 * The frame that is due, with its RTP header; false when there is none any more.
 * Afterwards due_ns is when to come again.
 */
bool core_player_turn(struct core_player *player, u64 now_ns, struct core_frame *frame,
		      u8 header[CORE_RTP_HEADER]);

#endif
