// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Session keys, and the primitives that core/srtp.c asks for, by the kernel's
 * crypto interface.
 *
 * Packets come in softirq: synchronous algorithms only.  A set of keys is used
 * under the lock of its target or output, so that one request is enough.
 */
#include <crypto/aead.h>
#include <crypto/aes.h>
#include <crypto/hash.h>
#include <crypto/skcipher.h>
#include <linux/percpu.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "module.h"

/* Packets that GCM opens in the kernel: what fails must be as it was. */
#define SCRATCH		2048

struct core_keys {
	struct crypto_sync_skcipher *counter;
	struct crypto_shash *hmac;
	struct crypto_aead *gcm;
	struct aead_request *request;
	struct crypto_aes_ctx *f8;		/* [2]: the key, the masked key */
	u8 associated[CORE_RTCP_HEADER + CORE_SRTCP_INDEX];
};

static u8 __percpu *scratch;

int core_cm(struct core_keys *keys, u8 iv[16], u8 *p, size_t n)
{
	SYNC_SKCIPHER_REQUEST_ON_STACK(request, keys->counter);
	struct scatterlist sg;
	int err;

	if (!n)
		return 0;
	sg_init_one(&sg, p, n);
	skcipher_request_set_sync_tfm(request, keys->counter);
	skcipher_request_set_callback(request, 0, NULL, NULL);
	skcipher_request_set_crypt(request, &sg, &sg, n, iv);
	err = crypto_skcipher_encrypt(request);
	skcipher_request_zero(request);
	return err;
}

/* S(j) = E(k, IV' ^ j ^ S(j - 1)), IV' = E(k ^ m, IV): RFC 3711 4.1.2.1 */
int core_f8(struct core_keys *keys, const u8 iv[16], u8 *p, size_t n)
{
	u8 masked[16], block[16] = {};
	size_t at, i;
	u32 j = 0;

	aes_encrypt(&keys->f8[1], masked, iv);
	for (at = 0; at < n; at += 16, j++) {
		for (i = 0; i < 16; i++)
			block[i] ^= masked[i];
		for (i = 0; i < 4; i++)
			block[12 + i] ^= j >> (24 - 8 * i);
		aes_encrypt(&keys->f8[0], block, block);
		for (i = 0; i < 16 && at + i < n; i++)
			p[at + i] ^= block[i];
	}
	return 0;
}

int core_hmac(struct core_keys *keys, const u8 *p, size_t n, const u8 *behind, size_t behind_n,
	      u8 mac[20])
{
	SHASH_DESC_ON_STACK(desc, keys->hmac);
	int err;

	desc->tfm = keys->hmac;
	err = crypto_shash_init(desc);
	if (!err)
		err = crypto_shash_update(desc, p, n);
	if (!err)
		err = crypto_shash_finup(desc, behind, behind_n, mac);
	shash_desc_zero(desc);
	return err;
}

/* n: with the tag when opening. */
static void gcm_prepare(struct core_keys *keys, struct scatterlist *sg, const u8 *nonce,
			const u8 *aad, size_t aad_n, u8 *p, size_t n, size_t tag)
{
	if (aad + aad_n == p) {
		sg_init_one(sg, aad, aad_n + n + tag);
	} else {
		/* Not the caller's: a stack has no pages that a scatterlist could name. */
		memcpy(keys->associated, aad, aad_n);
		sg_init_table(sg, 2);
		sg_set_buf(&sg[0], keys->associated, aad_n);
		sg_set_buf(&sg[1], p, n + tag);
	}
	aead_request_set_ad(keys->request, aad_n);
	aead_request_set_crypt(keys->request, sg, sg, n, (u8 *)nonce);
}

int core_gcm_seal(struct core_keys *keys, const u8 nonce[12], const u8 *aad, size_t aad_n,
		  u8 *p, size_t n)
{
	struct scatterlist sg[2];

	gcm_prepare(keys, sg, nonce, aad, aad_n, p, n, CORE_GCM_TAG);
	return crypto_aead_encrypt(keys->request);
}

int core_gcm_open(struct core_keys *keys, const u8 nonce[12], const u8 *aad, size_t aad_n,
		  u8 *p, size_t n)
{
	struct scatterlist sg[2];
	u8 *saved = this_cpu_ptr(scratch);
	int err;

	if (n + CORE_GCM_TAG > SCRATCH)
		return -E2BIG;
	memcpy(saved, p, n + CORE_GCM_TAG);
	gcm_prepare(keys, sg, nonce, aad, aad_n, p, n + CORE_GCM_TAG, 0);
	err = crypto_aead_decrypt(keys->request);
	if (err)
		memcpy(p, saved, n + CORE_GCM_TAG);
	return err;
}

/* ---- keys ---------------------------------------------------------------- */

/* RFC 3711 4.3, with a key derivation rate of zero; RFC 6188 3; RFC 7714 11. */
static int derive(const struct rtpe_crypto *crypto, u8 label, u8 *out, size_t n)
{
	struct crypto_aes_ctx aes;
	u8 iv[16], block[16];
	size_t at;
	int err = aes_expandkey(&aes, crypto->key, crypto->key_length);

	if (err)
		return err;
	core_derivation_iv(crypto, label, iv);
	for (at = 0; at < n; at += 16, iv[15]++) {
		aes_encrypt(&aes, block, iv);
		memcpy(out + at, block, min_t(size_t, 16, n - at));
	}
	memzero_explicit(&aes, sizeof(aes));
	memzero_explicit(block, sizeof(block));
	return 0;
}

static int take_f8(struct core_keys *keys, const u8 *key, const u8 *salt)
{
	u8 masked[16];
	int i, err;

	keys->f8 = kcalloc(2, sizeof(*keys->f8), GFP_KERNEL_ACCOUNT);
	if (!keys->f8)
		return -ENOMEM;
	for (i = 0; i < 16; i++)
		masked[i] = key[i] ^ (i < 14 ? salt[i] : 0x55);
	err = aes_expandkey(&keys->f8[0], key, 16);
	if (!err)
		err = aes_expandkey(&keys->f8[1], masked, 16);
	memzero_explicit(masked, sizeof(masked));
	return err;
}

static int take_counter(struct core_keys *keys, const u8 *key, u8 n)
{
	struct crypto_sync_skcipher *counter = crypto_alloc_sync_skcipher("ctr(aes)", 0, 0);

	if (IS_ERR(counter))
		return PTR_ERR(counter);
	keys->counter = counter;
	return crypto_sync_skcipher_setkey(counter, key, n);
}

static int take_gcm(struct core_keys *keys, const u8 *key, u8 n)
{
	struct crypto_aead *gcm = crypto_alloc_aead("gcm(aes)", 0, CRYPTO_ALG_ASYNC);
	int err;

	if (IS_ERR(gcm))
		return PTR_ERR(gcm);
	keys->gcm = gcm;
	err = crypto_aead_setkey(gcm, key, n);
	if (!err)
		err = crypto_aead_setauthsize(gcm, CORE_GCM_TAG);
	if (err)
		return err;
	keys->request = aead_request_alloc(gcm, GFP_KERNEL_ACCOUNT);
	if (!keys->request)
		return -ENOMEM;
	aead_request_set_callback(keys->request, 0, NULL, NULL);
	return 0;
}

static int take_hmac(struct core_keys *keys, const u8 *key)
{
	struct crypto_shash *hmac = crypto_alloc_shash("hmac(sha1)", 0, 0);

	if (IS_ERR(hmac))
		return PTR_ERR(hmac);
	keys->hmac = hmac;
	if (crypto_shash_descsize(hmac) > HASH_MAX_DESCSIZE)
		return -EINVAL;
	return crypto_shash_setkey(hmac, key, 20);
}

static void free_keys(struct core_keys *keys)
{
	if (!keys)
		return;
	crypto_free_sync_skcipher(keys->counter);
	crypto_free_shash(keys->hmac);
	if (keys->request)
		aead_request_free(keys->request);
	crypto_free_aead(keys->gcm);
	kfree_sensitive(keys->f8);
	kfree_sensitive(keys);
}

/* Keys of the labels first (encryption), first + 1 (authentication), first + 2 (salt). */
static int new_keys(const struct rtpe_crypto *crypto, u8 first, u8 *salt, struct core_keys **to)
{
	struct core_keys *keys = kzalloc(sizeof(*keys), GFP_KERNEL_ACCOUNT);
	u8 key[RTPE_MAX_KEY], authentication[20];
	int err;

	if (!keys)
		return -ENOMEM;
	*to = keys;
	err = derive(crypto, first, key, crypto->key_length);
	if (!err)
		err = derive(crypto, first + 1, authentication, sizeof(authentication));
	if (!err)
		err = derive(crypto, first + 2, salt, crypto->salt_length);
	if (err)
		goto out;
	switch (crypto->cipher) {
	case RTPE_CIPHER_AES_CM:
		err = take_counter(keys, key, crypto->key_length);
		break;
	case RTPE_CIPHER_AES_F8:
		err = take_f8(keys, key, salt);
		break;
	case RTPE_CIPHER_AES_GCM:
		err = take_gcm(keys, key, crypto->key_length);
		break;
	}
	if (!err && crypto->hmac == RTPE_HMAC_SHA1)
		err = take_hmac(keys, authentication);
out:
	memzero_explicit(key, sizeof(key));
	memzero_explicit(authentication, sizeof(authentication));
	return err;
}

/* What lists show beside what packets need. */
struct srtp {
	struct core_srtp core;
	struct rtpe_crypto crypto;
};

/* The message was validated. */
struct core_srtp *rtpe_srtp_new(const struct rtpe_crypto *crypto)
{
	struct srtp *srtp = kzalloc(sizeof(*srtp), GFP_KERNEL_ACCOUNT);
	struct core_srtp *core;
	int err;

	if (!srtp)
		return ERR_PTR(-ENOMEM);
	srtp->crypto = *crypto;
	core = &srtp->core;
	core->cipher = crypto->cipher;
	core->rtp_tag = crypto->rtp_tag;
	core->rtcp_tag = crypto->rtcp_tag;
	core->rtp_encrypted = !(crypto->flags & RTPE_CRYPTO_PLAIN_RTP);
	core->rtcp_encrypted = !(crypto->flags & RTPE_CRYPTO_PLAIN_RTCP) &&
			       crypto->cipher != RTPE_CIPHER_NULL;
	core->mki_length = crypto->mki_length;
	memcpy(core->mki, crypto->mki, crypto->mki_length);
	err = new_keys(crypto, 0, core->rtp_salt, &core->rtp);
	if (!err)
		err = new_keys(crypto, 3, core->rtcp_salt, &core->rtcp);
	if (!err)
		return core;
	rtpe_srtp_free(core);
	return ERR_PTR(err);
}

void rtpe_srtp_free(struct core_srtp *core)
{
	struct srtp *srtp;

	if (!core)
		return;
	srtp = container_of(core, struct srtp, core);
	free_keys(core->rtp);
	free_keys(core->rtcp);
	kfree_sensitive(srtp);
}

u32 rtpe_srtp_features(void)
{
	u32 features = 0;

	if (crypto_has_alg("ctr(aes)", 0, CRYPTO_ALG_ASYNC) && crypto_has_alg("hmac(sha1)", 0, 0))
		features |= RTPE_FEATURE_SRTP | RTPE_FEATURE_F8;
	if (crypto_has_alg("gcm(aes)", 0, CRYPTO_ALG_ASYNC))
		features |= RTPE_FEATURE_GCM;
	return features;
}

static void show_octets(struct seq_file *m, const char *name, const u8 *p, size_t n)
{
	if (rtpe_print_keys)
		seq_printf(m, "        %s: %*phN\n", name, (int)n, p);
	else
		seq_printf(m, "        %s: (hidden)\n", name);
}

void rtpe_srtp_show(struct seq_file *m, const struct core_srtp *core, const char *direction)
{
	static const char * const ciphers[] = { "NULL", "AES-CM", "AES-F8", "AEAD-AES-GCM" };
	const struct srtp *srtp = container_of(core, struct srtp, core);
	const struct rtpe_crypto *crypto = &srtp->crypto;
	u32 i;

	seq_printf(m, "    SRTP %s parameters:\n", direction);
	if (crypto->cipher == RTPE_CIPHER_NULL)
		seq_puts(m, "        cipher: NULL\n");
	else
		seq_printf(m, "        cipher: %s-%u\n", ciphers[crypto->cipher & 3],
			   8 * crypto->key_length);
	show_octets(m, "master key", crypto->key, crypto->key_length);
	show_octets(m, "master salt", crypto->salt, crypto->salt_length);
	if (crypto->mki_length) {
		seq_printf(m, "        MKI: length %u, ", crypto->mki_length);
		for (i = 0; i < crypto->mki_length; i++)
			seq_printf(m, i ? ":%02x" : "%02x", crypto->mki[i]);
		seq_putc(m, '\n');
	}
	seq_printf(m, "        HMAC: %s\n", crypto->hmac == RTPE_HMAC_SHA1 ? "HMAC-SHA1" : "NULL");
	seq_printf(m, "        auth tag length: %u\n", crypto->rtp_tag);
}

int rtpe_srtp_init(void)
{
	scratch = __alloc_percpu(SCRATCH, 16);
	return scratch ? 0 : -ENOMEM;
}

void rtpe_srtp_exit(void)
{
	free_percpu(scratch);
}
