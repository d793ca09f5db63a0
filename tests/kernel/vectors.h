/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads srtp-vectors.txt, which the Rust implementation has made:
 *
 *	key <cipher> <HMAC> <RTP tag> <RTCP tag> <key> <salt> <flags> <key and salt> <MKI or ->
 *	rtp|rtcp <clear packet> <protected packet>
 */
#ifndef VECTORS_H
#define VECTORS_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernel-module/rtpengine_abi.h"

struct vector {
	struct rtpe_crypto crypto;
	bool new_key;		/* crypto has changed with this one */
	bool rtcp;
	int clear_n, sealed_n;
	__u8 clear[512], sealed[512];
};

static inline int vector_hex(const char *text, __u8 *to, int room)
{
	unsigned int octet;
	int n = 0;

	if (!strcmp(text, "-"))
		return 0;
	for (; n < room && sscanf(text + 2 * n, "%2x", &octet) == 1; n++)
		to[n] = octet;
	return n;
}

/* The next packet; false at the end. v keeps the key between calls. */
static inline bool next_vector(FILE *file, struct vector *v)
{
	static char line[4096], a[2048], b[2048];
	unsigned int n[7];

	v->new_key = false;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "key %u %u %u %u %u %u %u %2000s %2000s", &n[0], &n[1], &n[2], &n[3],
			   &n[4], &n[5], &n[6], a, b) == 9) {
			__u8 both[64];

			memset(&v->crypto, 0, sizeof(v->crypto));
			v->crypto.cipher = n[0];
			v->crypto.hmac = n[1];
			v->crypto.rtp_tag = n[2];
			v->crypto.rtcp_tag = n[3];
			v->crypto.key_length = n[4];
			v->crypto.salt_length = n[5];
			v->crypto.flags = n[6];
			vector_hex(a, both, sizeof(both));
			memcpy(v->crypto.key, both, n[4]);
			memcpy(v->crypto.salt, both + n[4], n[5]);
			v->crypto.mki_length = vector_hex(b, v->crypto.mki, 255);
			v->new_key = true;
		} else if (sscanf(line, "%4s %2000s %2000s", (char *)n, a, b) == 3) {
			v->rtcp = !strcmp((char *)n, "rtcp");
			v->clear_n = vector_hex(a, v->clear, sizeof(v->clear));
			v->sealed_n = vector_hex(b, v->sealed, sizeof(v->sealed));
			return true;
		}
	}
	return false;
}

#endif
