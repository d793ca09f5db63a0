// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * SRTP and SRTCP by the kernel's crypto, both ways, against the packets of the
 * Rust implementation; then what must not get through.
 */
#include "rig.h"
#include "../vectors.h"

#define SSRC	0x11223344
#define WAIT	3000
#define QUIET	40

static int party, rtp, rtcp, daemon_socket;
static uint8_t got[2048];

static void add(const struct rtpe_crypto *decrypt, const struct rtpe_crypto *encrypt)
{
	struct rtpe_target target = plain_target(address("127.0.0.1", 30000),
						 RTPE_TARGET_RTP | RTPE_TARGET_RTP_ONLY | RTPE_TARGET_RTCP_FORWARD);
	struct rtpe_destination output = plain_output(target.local, address("127.0.0.1", 30002),
						      address("127.0.0.1", 5000));

	target.outputs = 2;
	target.ssrc[0].ssrc = SSRC;
	target.ssrc[0].flags = RTPE_SSRC_USED;
	if (decrypt)
		target.decrypt = *decrypt;
	if (encrypt)
		output.encrypt = *encrypt;
	add_target(&target);
	add_output(&output);
	output.number = 1;
	output.flags = RTPE_OUTPUT_RTCP;
	output.destination = address("127.0.0.1", 5001);
	add_output(&output);
}

static void expect(const struct vector *v, const uint8_t *in, int in_n, const uint8_t *out, int out_n,
		   const char *what, int number)
{
	int n;

	send_to(party, "127.0.0.1", 30000, in, in_n);
	n = receive(v->rtcp ? rtcp : rtp, got, sizeof(got), WAIT);
	CHECK(n == out_n && !memcmp(got, out, n), "%s %d: %d octets instead of %d", what, number, n, out_n);
}

static void sealed(const char *path)
{
	FILE *file = fopen(path, "r");
	struct vector v = {};
	int number = 0;

	test_name = "protected";
	for (; file && next_vector(file, &v); number++) {
		if (v.new_key)
			add(NULL, &v.crypto);
		expect(&v, v.clear, v.clear_n, v.sealed, v.sealed_n, "vector", number);
	}
	CHECK(number > 400, "%d vectors", number);
	CHECK_EQ(delete_target(address("127.0.0.1", 30000), NULL), 0);
	fclose(file);
}

static void opened(const char *path)
{
	FILE *file = fopen(path, "r");
	struct vector v = {};
	uint8_t wrong[512];
	int number = 0;

	test_name = "unprotected";
	for (; file && next_vector(file, &v); number++) {
		bool authentic = v.rtcp || v.crypto.rtp_tag;

		if (v.new_key)
			add(&v.crypto, NULL);
		if (authentic) {
			/* Left to the daemon exactly as it came. */
			memcpy(wrong, v.sealed, v.sealed_n);
			wrong[v.rtcp ? 8 + number % 8 : 4 + number % 4] ^= 1;
			send_to(party, "127.0.0.1", 30000, wrong, v.sealed_n);
			CHECK(receive(daemon_socket, got, sizeof(got), WAIT) == v.sealed_n &&
			      !memcmp(got, wrong, v.sealed_n), "vector %d, wrong tag", number);
		}
		expect(&v, v.sealed, v.sealed_n, v.clear, v.clear_n, "vector", number);
		if (authentic && number % 20 == 0) {
			send_to(party, "127.0.0.1", 30000, v.sealed, v.sealed_n);
			CHECK(receive(rtp, got, sizeof(got), QUIET) < 0 &&
			      receive(daemon_socket, got, sizeof(got), QUIET) < 0, "vector %d, replayed", number);
		}
	}
	CHECK(number > 400, "%d vectors", number);
	CHECK_EQ(delete_target(address("127.0.0.1", 30000), NULL), 0);
	fclose(file);
}

/* From one key to another through two targets; the second goes on where the first ended. */
static void handed_over(const char *path)
{
	FILE *file = fopen(path, "r");
	struct rtpe_address local = address("127.0.0.1", 30000);
	struct rtpe_statistics s;
	struct rtpe_target target = plain_target(local, RTPE_TARGET_RTP);
	struct rtpe_destination output = plain_output(local, address("127.0.0.1", 30002), address("127.0.0.1", 5000));
	struct vector v = {}, sealed_with = {};
	char *list;
	int i;

	test_name = "handed over";
	/* the first suite with SHA-1 tags */
	while (next_vector(file, &v) && v.crypto.hmac != RTPE_HMAC_SHA1)
		;
	sealed_with = v;
	sealed_with.crypto.key[0] ^= 1;
	target.ssrc[0].ssrc = SSRC;
	target.ssrc[0].flags = RTPE_SSRC_USED;
	target.decrypt = v.crypto;
	output.encrypt = sealed_with.crypto;
	for (i = 0; i < 6 && !v.rtcp; i++) {
		add_target(&target);
		add_output(&output);
		send_to(party, "127.0.0.1", 30000, v.sealed, v.sealed_n);
		CHECK_EQ(receive(rtp, got, sizeof(got), WAIT), v.sealed_n);
		CHECK(memcmp(got, v.sealed, v.sealed_n), "packet %d left under the key it came with", i);
		if (!i) {
			list = read_file("/proc/rtpengine/0/list");
			CHECK(strstr(list, "(hidden)") && strstr(list, "HMAC: HMAC-SHA1\n") &&
			      !strstr(list, "0405060708"), "%s", list);
			free(list);
			CHECK_EQ(write_file("/sys/module/xt_RTPENGINE/parameters/print_keys", "1"), 0);
			list = read_file("/proc/rtpengine/0/list");
			CHECK(!strstr(list, "(hidden)") && strstr(list, "0708090a"), "%s", list);
			free(list);
			CHECK_EQ(write_file("/sys/module/xt_RTPENGINE/parameters/print_keys", "0"), 0);
		}
		CHECK_EQ(delete_target(local, &s), 0);
		CHECK_EQ(s.ssrc[0].ssrc.rtp_index, 65533 + i);
		CHECK_EQ(s.output[0].ssrc[0].rtp_index, 65533 + i);
		target.ssrc[0] = s.ssrc[0].ssrc;
		output.ssrc[0].out = s.output[0].ssrc[0];
		/* what was used stays used */
		add_target(&target);
		add_output(&output);
		send_to(party, "127.0.0.1", 30000, v.sealed, v.sealed_n);
		CHECK_EQ(receive(rtp, got, sizeof(got), QUIET), -1);
		CHECK_EQ(delete_target(local, &s), 0);
		CHECK_EQ(s.reasons[RTPE_REASON_REPLAY], 1);
		next_vector(file, &v);
	}
	CHECK_EQ(i, 6);
	fclose(file);
}

void test_srtp(const char *path)
{
	party = udp_socket("127.0.0.1", 4000);
	rtp = udp_socket("127.0.0.1", 5000);
	rtcp = udp_socket("127.0.0.1", 5001);
	daemon_socket = udp_socket("127.0.0.1", 30000);
	sealed(path);
	opened(path);
	handed_over(path);
	close(party);
	close(rtp);
	close(rtcp);
	close(daemon_socket);
}
