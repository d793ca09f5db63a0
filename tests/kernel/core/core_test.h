/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CORE_TEST_H
#define CORE_TEST_H

#include "../../../kernel-module/core/core.h"
#include "../vectors.h"

/* Session keys by OpenSSL. */
void open_srtp(struct core_srtp *s, const struct rtpe_crypto *crypto);
void close_srtp(struct core_srtp *s);

/* Any octets, as datagram, as commands: nothing may be read or written that is not theirs. */
void any_input(const u8 *p, size_t n);

/* Tests in files of their own: how many checks failed. */
int test_players(void);

#endif
