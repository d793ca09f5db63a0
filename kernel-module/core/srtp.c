// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Layout of SRTP and SRTCP (RFC 3711, 6188, 7714).
 *
 *	SRTP   header | payload*          | MKI | tag    GCM: header | payload* tag | MKI
 *	SRTCP  8 octets | rest* | E index | MKI | tag    GCM: 8 octets | rest* tag | E index | MKI
 *
 * What a packet that is not authentic can change: nothing.  Windows follow
 * authentic packets only.
 */
#include "core.h"

#define ENCRYPTED	0x80000000u

void core_derivation_iv(const struct rtpe_crypto *crypto, u8 label, u8 iv[16])
{
	memset(iv, 0, 16);
	memcpy(iv, crypto->salt, crypto->salt_length);
	iv[7] ^= label;
}

/* RFC 3711 4.1.1 */
static void counter_iv(const u8 *salt, u32 ssrc, u64 index, u8 iv[16])
{
	int i;

	memcpy(iv, salt, 14);
	iv[14] = 0;
	iv[15] = 0;
	for (i = 0; i < 4; i++)
		iv[4 + i] ^= ssrc >> (24 - 8 * i);
	for (i = 0; i < 6; i++)
		iv[8 + i] ^= index >> (40 - 8 * i);
}

/* RFC 7714 8.1, 9.1 */
static void gcm_nonce(const u8 *salt, u32 ssrc, u64 index, u8 nonce[12])
{
	int i;

	memcpy(nonce, salt, 12);
	for (i = 0; i < 4; i++)
		nonce[2 + i] ^= ssrc >> (24 - 8 * i);
	for (i = 0; i < 6; i++)
		nonce[6 + i] ^= index >> (40 - 8 * i);
}

static int crypt_rtp(struct core_srtp *s, u64 index, u8 *p, size_t header, size_t n)
{
	u8 iv[16];

	switch (s->cipher) {
	case RTPE_CIPHER_AES_CM:
		counter_iv(s->rtp_salt, core_be32(p + 8), index, iv);
		return core_cm(s->rtp, iv, p + header, n - header);
	case RTPE_CIPHER_AES_F8:
		iv[0] = 0;
		memcpy(iv + 1, p + 1, 11);
		core_put_be32(iv + 12, index >> 16);
		return core_f8(s->rtp, iv, p + header, n - header);
	}
	return 0;
}

static int crypt_rtcp(struct core_srtp *s, u32 word, u8 *p, size_t n)
{
	u8 iv[16];

	switch (s->cipher) {
	case RTPE_CIPHER_AES_CM:
		counter_iv(s->rtcp_salt, core_be32(p + 4), word & ~ENCRYPTED, iv);
		return core_cm(s->rtcp, iv, p + CORE_RTCP_HEADER, n - CORE_RTCP_HEADER);
	case RTPE_CIPHER_AES_F8:
		memset(iv, 0, 4);
		core_put_be32(iv + 4, word);
		memcpy(iv + 8, p, CORE_RTCP_HEADER);
		return core_f8(s->rtcp, iv, p + CORE_RTCP_HEADER, n - CORE_RTCP_HEADER);
	}
	return 0;
}

static bool is_equal(const u8 *a, const u8 *b, size_t n)
{
	u8 difference = 0;
	size_t i;

	for (i = 0; i < n; i++)
		difference |= a[i] ^ b[i];
	return !difference;
}

/* ---- RTP ---------------------------------------------------------------- */

int core_protect_rtp(struct core_srtp *s, struct core_window *w, u8 *p, size_t n)
{
	struct core_rtp rtp;
	u64 index;
	int err;

	if (!core_parse_rtp(p, n, &rtp))
		return -EMSGSIZE;
	if (!core_window_index(w, rtp.sequence, &index))
		return -EKEYEXPIRED;
	if (core_window_used(w, index))
		return -EALREADY;
	core_window_mark(w, index);
	if (s->cipher == RTPE_CIPHER_AES_GCM) {
		size_t clear = s->rtp_encrypted ? rtp.header : n;
		u8 nonce[12];

		gcm_nonce(s->rtp_salt, rtp.ssrc, index, nonce);
		err = core_gcm_seal(s->rtp, nonce, p, clear, p + clear, n - clear);
		if (err)
			return err;
		memcpy(p + n + CORE_GCM_TAG, s->mki, s->mki_length);
		return n + CORE_GCM_TAG + s->mki_length;
	}
	if (s->rtp_encrypted) {
		err = crypt_rtp(s, index, p, rtp.header, n);
		if (err)
			return err;
	}
	memcpy(p + n, s->mki, s->mki_length);
	if (s->rtp_tag) {
		u8 mac[20], roc[4];

		core_put_be32(roc, index >> 16);
		err = core_hmac(s->rtp, p, n, roc, 4, mac);
		if (err)
			return err;
		memcpy(p + n + s->mki_length, mac, s->rtp_tag);
	}
	return n + s->mki_length + s->rtp_tag;
}

/* One guess at the index: 0 if the packet is authentic under it (GCM: and is then open). */
static int try_rtp(struct core_srtp *s, u64 index, const struct core_rtp *rtp, u8 *p, size_t n)
{
	u8 mac[20], roc[4];
	int err;

	if (s->cipher == RTPE_CIPHER_AES_GCM) {
		size_t clear = s->rtp_encrypted ? rtp->header : n;
		u8 nonce[12];

		gcm_nonce(s->rtp_salt, rtp->ssrc, index, nonce);
		return core_gcm_open(s->rtp, nonce, p, clear, p + clear, n - clear);
	}
	if (!s->rtp_tag)
		return 0;
	core_put_be32(roc, index >> 16);
	err = core_hmac(s->rtp, p, n, roc, 4, mac);
	if (err)
		return err;
	return is_equal(mac, p + n + s->mki_length, s->rtp_tag) ? 0 : -EBADMSG;
}

/*
 * The estimate of the roll-over counter is too low when the sender was heard by
 * somebody else over a wrap: the next cycle is tried as well.  Earlier cycles
 * are not: whatever is authentic there is too old to be told from a replay.
 */
static int find_rtp_index(struct core_srtp *s, const struct core_window *w,
			  const struct core_rtp *rtp, u8 *p, size_t n, u64 *index)
{
	int err;

	if (!core_window_index(w, rtp->sequence, index))
		return -EKEYEXPIRED;
	/* What was used is not authenticated again: that costs a replayer nothing. */
	if (s->rtp_tag && core_window_used(w, *index))
		return -EALREADY;
	err = try_rtp(s, *index, rtp, p, n);
	if (err != -EBADMSG || *index + 0x10000 > CORE_LAST_RTP)
		return err;
	*index += 0x10000;
	return try_rtp(s, *index, rtp, p, n);
}

int core_unprotect_rtp(struct core_srtp *s, struct core_window *w, u8 *p, size_t n)
{
	size_t overhead = core_srtp_rtp_overhead(s);
	struct core_rtp rtp;
	const u8 *mki;
	u64 index;
	int err;

	if (n < overhead || !core_parse_rtp(p, n - overhead, &rtp))
		return -EMSGSIZE;
	n -= overhead;
	mki = s->cipher == RTPE_CIPHER_AES_GCM ? p + n + CORE_GCM_TAG : p + n;
	if (memcmp(mki, s->mki, s->mki_length))
		return -EBADMSG;
	err = find_rtp_index(s, w, &rtp, p, n, &index);
	if (err)
		return err;
	core_window_mark(w, index);
	if (s->rtp_encrypted && s->cipher != RTPE_CIPHER_AES_GCM) {
		err = crypt_rtp(s, index, p, rtp.header, n);
		if (err)
			return err;
	}
	return n;
}

/* ---- RTCP --------------------------------------------------------------- */

int core_protect_rtcp(struct core_srtp *s, u32 *next, u8 *p, size_t n)
{
	u32 word;
	int err;

	if (n < CORE_RTCP_HEADER)
		return -EMSGSIZE;
	if (*next & ENCRYPTED)
		return -EKEYEXPIRED;
	word = (*next)++ | (s->rtcp_encrypted ? ENCRYPTED : 0);
	if (s->cipher == RTPE_CIPHER_AES_GCM) {
		u8 nonce[12], aad[CORE_RTCP_HEADER + CORE_SRTCP_INDEX];

		gcm_nonce(s->rtcp_salt, core_be32(p + 4), word & ~ENCRYPTED, nonce);
		if (s->rtcp_encrypted) {
			memcpy(aad, p, CORE_RTCP_HEADER);
			core_put_be32(aad + CORE_RTCP_HEADER, word);
			err = core_gcm_seal(s->rtcp, nonce, aad, sizeof(aad),
					    p + CORE_RTCP_HEADER, n - CORE_RTCP_HEADER);
		} else {
			/* All of it and the index is associated; then the tag gets before the index. */
			core_put_be32(p + n, word);
			err = core_gcm_seal(s->rtcp, nonce, p, n + CORE_SRTCP_INDEX,
					    p + n + CORE_SRTCP_INDEX, 0);
			memmove(p + n, p + n + CORE_SRTCP_INDEX, CORE_GCM_TAG);
		}
		if (err)
			return err;
		n += CORE_GCM_TAG;
		core_put_be32(p + n, word);
		n += CORE_SRTCP_INDEX;
		memcpy(p + n, s->mki, s->mki_length);
		return n + s->mki_length;
	}
	if (s->rtcp_encrypted) {
		err = crypt_rtcp(s, word, p, n);
		if (err)
			return err;
	}
	core_put_be32(p + n, word);
	n += CORE_SRTCP_INDEX;
	memcpy(p + n, s->mki, s->mki_length);
	{
		u8 mac[20];

		err = core_hmac(s->rtcp, p, n, NULL, 0, mac);
		if (err)
			return err;
		memcpy(p + n + s->mki_length, mac, s->rtcp_tag);
	}
	return n + s->mki_length + s->rtcp_tag;
}

static int open_rtcp_gcm(struct core_srtp *s, u32 word, u8 *p, size_t n)
{
	u8 nonce[12], aad[CORE_RTCP_HEADER + CORE_SRTCP_INDEX], tag[CORE_GCM_TAG];
	int err;

	gcm_nonce(s->rtcp_salt, core_be32(p + 4), word & ~ENCRYPTED, nonce);
	if (word & ENCRYPTED) {
		memcpy(aad, p, CORE_RTCP_HEADER);
		core_put_be32(aad + CORE_RTCP_HEADER, word);
		return core_gcm_open(s->rtcp, nonce, aad, sizeof(aad), p + CORE_RTCP_HEADER,
				     n - CORE_RTCP_HEADER);
	}
	memcpy(tag, p + n, CORE_GCM_TAG);
	core_put_be32(p + n, word);
	memcpy(p + n + CORE_SRTCP_INDEX, tag, CORE_GCM_TAG);
	err = core_gcm_open(s->rtcp, nonce, p, n + CORE_SRTCP_INDEX,
			    p + n + CORE_SRTCP_INDEX, 0);
	/* as it was, for whoever looks at it next */
	memcpy(p + n, tag, CORE_GCM_TAG);
	core_put_be32(p + n + CORE_GCM_TAG, word);
	return err;
}

int core_unprotect_rtcp(struct core_srtp *s, struct core_window *w, u8 *p, size_t n)
{
	size_t overhead = core_srtp_rtcp_overhead(s);
	u32 word;
	int err;

	if (n < overhead + CORE_RTCP_HEADER)
		return -EMSGSIZE;
	n -= overhead;
	word = core_be32(p + n + (s->cipher == RTPE_CIPHER_AES_GCM ? CORE_GCM_TAG : 0));
	if (core_window_used(w, word & ~ENCRYPTED))
		return -EALREADY;
	if (s->cipher == RTPE_CIPHER_AES_GCM) {
		if (memcmp(p + n + CORE_GCM_TAG + CORE_SRTCP_INDEX, s->mki, s->mki_length))
			return -EBADMSG;
		err = open_rtcp_gcm(s, word, p, n);
	} else {
		u8 mac[20];

		if (memcmp(p + n + CORE_SRTCP_INDEX, s->mki, s->mki_length))
			return -EBADMSG;
		err = core_hmac(s->rtcp, p, n + CORE_SRTCP_INDEX, NULL, 0, mac);
		if (!err && !is_equal(mac, p + n + CORE_SRTCP_INDEX + s->mki_length, s->rtcp_tag))
			err = -EBADMSG;
	}
	if (err)
		return err;
	core_window_mark(w, word & ~ENCRYPTED);
	if (word & ENCRYPTED && s->cipher != RTPE_CIPHER_AES_GCM) {
		err = crypt_rtcp(s, word, p, n);
		if (err)
			return err;
	}
	return n;
}
