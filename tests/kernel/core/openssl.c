// SPDX-License-Identifier: GPL-2.0-or-later
/* The primitives that core/srtp.c asks for, by OpenSSL: another library than the kernel's. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#include "core_test.h"

struct core_keys {
	u8 key[32];
	u8 masked[16];		/* F8 */
	u8 authentication[20];
	int n;
};

static const EVP_CIPHER *counter_mode(int n)
{
	return n == 16 ? EVP_aes_128_ctr() : n == 24 ? EVP_aes_192_ctr() : EVP_aes_256_ctr();
}

static void counter(const u8 *key, int key_n, const u8 *iv, u8 *p, size_t n)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int done;

	EVP_EncryptInit_ex(c, counter_mode(key_n), NULL, key, iv);
	EVP_EncryptUpdate(c, p, &done, p, n);
	EVP_CIPHER_CTX_free(c);
}

int core_cm(struct core_keys *keys, u8 iv[16], u8 *p, size_t n)
{
	if (n)
		counter(keys->key, keys->n, iv, p, n);
	return 0;
}

static void block_of(const u8 *key, const u8 *in, u8 *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int done;

	EVP_EncryptInit_ex(c, EVP_aes_128_ecb(), NULL, key, NULL);
	EVP_CIPHER_CTX_set_padding(c, 0);
	EVP_EncryptUpdate(c, out, &done, in, 16);
	EVP_CIPHER_CTX_free(c);
}

int core_f8(struct core_keys *keys, const u8 iv[16], u8 *p, size_t n)
{
	u8 first[16], state[16] = {};
	size_t at, i;

	block_of(keys->masked, iv, first);
	for (at = 0; at < n; at += 16) {
		for (i = 0; i < 16; i++)
			state[i] ^= first[i];
		state[15] ^= at / 16;
		state[14] ^= at / 16 >> 8;
		block_of(keys->key, state, state);
		for (i = 0; i < 16 && at + i < n; i++)
			p[at + i] ^= state[i];
	}
	return 0;
}

int core_hmac(struct core_keys *keys, const u8 *p, size_t n, const u8 *behind, size_t behind_n,
	      u8 mac[20])
{
	u8 *all = malloc(n + behind_n + 1);

	memcpy(all, p, n);
	if (behind_n)
		memcpy(all + n, behind, behind_n);
	HMAC(EVP_sha1(), keys->authentication, 20, all, n + behind_n, mac, NULL);
	free(all);
	return 0;
}

static const EVP_CIPHER *gcm(const struct core_keys *keys)
{
	return keys->n == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm();
}

int core_gcm_seal(struct core_keys *keys, const u8 nonce[12], const u8 *aad, size_t aad_n,
		  u8 *p, size_t n)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int done;

	EVP_EncryptInit_ex(c, gcm(keys), NULL, keys->key, nonce);
	EVP_EncryptUpdate(c, NULL, &done, aad, aad_n);
	if (n)
		EVP_EncryptUpdate(c, p, &done, p, n);
	EVP_EncryptFinal_ex(c, p + n, &done);
	EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, 16, p + n);
	EVP_CIPHER_CTX_free(c);
	return 0;
}

int core_gcm_open(struct core_keys *keys, const u8 nonce[12], const u8 *aad, size_t aad_n,
		  u8 *p, size_t n)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	u8 *out = malloc(n + 16);
	int done, ok;

	EVP_DecryptInit_ex(c, gcm(keys), NULL, keys->key, nonce);
	EVP_DecryptUpdate(c, NULL, &done, aad, aad_n);
	if (n)
		EVP_DecryptUpdate(c, out, &done, p, n);
	EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, 16, p + n);
	ok = EVP_DecryptFinal_ex(c, out + n, &done) > 0;
	if (ok && n)
		memcpy(p, out, n);
	EVP_CIPHER_CTX_free(c);
	free(out);
	return ok ? 0 : -EBADMSG;
}

static void derive(const struct rtpe_crypto *crypto, u8 label, u8 *out, size_t n)
{
	u8 iv[16];

	core_derivation_iv(crypto, label, iv);
	memset(out, 0, n);
	counter(crypto->key, crypto->key_length, iv, out, n);
}

static struct core_keys *keys_of(const struct rtpe_crypto *crypto, u8 first, u8 *salt)
{
	struct core_keys *keys = calloc(1, sizeof(*keys));
	int i;

	keys->n = crypto->key_length;
	derive(crypto, first, keys->key, keys->n);
	derive(crypto, first + 1, keys->authentication, 20);
	derive(crypto, first + 2, salt, crypto->salt_length);
	for (i = 0; i < 16; i++)
		keys->masked[i] = keys->key[i] ^ (i < 14 ? salt[i] : 0x55);
	return keys;
}

void open_srtp(struct core_srtp *s, const struct rtpe_crypto *crypto)
{
	memset(s, 0, sizeof(*s));
	s->cipher = crypto->cipher;
	s->rtp_tag = crypto->rtp_tag;
	s->rtcp_tag = crypto->rtcp_tag;
	s->rtp_encrypted = !(crypto->flags & RTPE_CRYPTO_PLAIN_RTP);
	s->rtcp_encrypted = !(crypto->flags & RTPE_CRYPTO_PLAIN_RTCP) && crypto->cipher;
	s->mki_length = crypto->mki_length;
	memcpy(s->mki, crypto->mki, crypto->mki_length);
	s->rtp = keys_of(crypto, 0, s->rtp_salt);
	s->rtcp = keys_of(crypto, 3, s->rtcp_salt);
}

void close_srtp(struct core_srtp *s)
{
	free(s->rtp);
	free(s->rtcp);
}
