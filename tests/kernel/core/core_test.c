// SPDX-License-Identifier: GPL-2.0-or-later
/* core-test VECTORS [ROUNDS]: the module's core in user space. */
#include <stdio.h>
#include <stdlib.h>

#include "core_test.h"

static int failures;

#define CHECK(condition, ...) do { \
	if (!(condition)) { \
		failures++; \
		printf("FAIL %s:%d %s: ", __FILE__, __LINE__, #condition); \
		printf(" " __VA_ARGS__); \
		printf("\n"); \
	} \
} while (0)

static void window_follows_the_sequence_number_over_the_wrap(void)
{
	static const struct {
		const char *name;
		u64 highest;
		u16 sequence;
		bool ok;
		u64 index;
	} cases[] = {
		{ "next", 10, 11, true, 11 },
		{ "late", 10, 3, true, 3 },
		{ "far ahead in the first cycle", 10, 40000, true, 40000 },
		{ "lost up to the wrap", 65000, 5, true, 0x10005 },
		{ "late over the wrap", 0x10002, 65534, true, 65534 },
		{ "half a cycle ahead", 0x10000, 0x7fff, true, 0x17fff },
		{ "half a cycle behind", 0x18000, 0, true, 0x10000 },
		{ "exactly half a cycle ahead", 0x10005, 0x8005, true, 0x18005 },
		{ "roll-over counter wraps", CORE_LAST_RTP, 0, false, 0 },
		{ "late before the end", CORE_LAST_RTP, 65530, true, CORE_LAST_RTP - 5 },
		{ "last", CORE_LAST_RTP - 1, 65535, true, CORE_LAST_RTP },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct core_window w = {};
		u64 index = 0;
		bool ok;

		core_window_mark(&w, cases[i].highest);
		ok = core_window_index(&w, cases[i].sequence, &index);
		CHECK(ok == cases[i].ok && (!ok || index == cases[i].index), "%s", cases[i].name);
	}
}

static void window_knows_used_and_too_old_indices(void)
{
	struct core_window w = {};
	u64 i;

	core_window_mark(&w, 1000);
	core_window_mark(&w, 1003);
	core_window_mark(&w, 1010);
	CHECK(core_window_used(&w, 1010) && core_window_used(&w, 1003) && core_window_used(&w, 1000));
	CHECK(!core_window_used(&w, 1002) && !core_window_used(&w, 1011) && !core_window_used(&w, 883));
	CHECK(core_window_used(&w, 882));
	core_window_mark(&w, 1002);
	CHECK(core_window_used(&w, 1002));
	/* Compared with a plain list of what was used. */
	for (i = 0; i < 20000; i++) {
		static u8 used[4096];
		u64 at = i * 2654435761u % 97 + i / 16, behind;

		if (!i) {
			memset(&w, 0, sizeof(w));
			memset(used, 0, sizeof(used));
		}
		behind = w.known && at <= w.highest ? w.highest - at : 0;
		if (w.known && at <= w.highest)
			CHECK(core_window_used(&w, at) == (behind >= CORE_WINDOW || used[at]), "%d", (int)at);
		else
			CHECK(!core_window_used(&w, at));
		core_window_mark(&w, at);
		used[at] = 1;
	}
	core_window_behind(&w, 5000);
	CHECK(core_window_used(&w, 5000) && core_window_used(&w, 4900) && !core_window_used(&w, 5001));
}

static void datagrams_are_told_apart(void)
{
	static const u8 stun[28] = { 0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42, [20] = 0x80, 0x28, 0, 4 };
	u8 changed[28], rtp[60] = { 0x80, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
	struct core_rtp r;
	size_t i;

	CHECK(core_is_stun(stun, 28));
	for (i = 0; i < 28; i++)
		CHECK(!core_is_stun(stun, i));
	for (i = 0; i < 24; i++) {
		bool fixed = i < 1 || (i > 1 && i < 8) || i > 19;

		memcpy(changed, stun, 28);
		changed[i] ^= 0xc1;
		CHECK(core_is_stun(changed, 28) == !fixed, "%d", (int)i);
	}
	CHECK(core_parse_rtp(rtp, 60, &r) && r.header == 12 && r.payload_type == 8 && r.sequence == 0x102 &&
	      r.timestamp == 0x3040506 && r.ssrc == 0x708090a);
	CHECK(!core_parse_rtp(rtp, 11, &r));
	rtp[0] = 0x92;
	rtp[20] = 0xbe;
	rtp[21] = 0xde;
	rtp[23] = 2;
	CHECK(core_parse_rtp(rtp, 60, &r) && r.header == 32 && r.extension == 24 && r.extension_length == 8);
	CHECK(core_parse_rtp(rtp, 32, &r) && !core_parse_rtp(rtp, 31, &r) && !core_parse_rtp(rtp, 22, &r));
	rtp[1] = 200;
	CHECK(core_is_rtcp(rtp, 8) && !core_is_feedback(rtp, 8) && !core_is_rtcp(rtp, 7));
	rtp[1] = 205;
	CHECK(core_is_feedback(rtp, 8));
	rtp[0] = 0x12;
	CHECK(!core_is_rtcp(rtp, 60) && !core_parse_rtp(rtp, 60, &r) && !core_is_dtls(rtp, 60));
	rtp[0] = 20;
	CHECK(core_is_dtls(rtp, 1) && !core_is_dtls(rtp, 0));
}

static void extensions_are_found_and_filtered(void)
{
	u8 one[] = { 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 3,
		     0x10, 0xaa, 0x42, 'm', 'i', 'd', 0, 0, 0x51, 1, 2, 0xf0 };
	u8 two[] = { 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 2,
		     200, 0, 7, 2, 8, 9, 0, 0 };
	static const u8 allowed[] = { 1, 5 };
	struct core_rtp r;
	u8 length = 0;

	CHECK(core_parse_rtp(one, sizeof(one), &r));
	CHECK(core_find_extension(one, &r, 4, &length) == 19 && length == 3);
	CHECK(!core_find_extension(one, &r, 2, &length));
	core_filter_extensions(one, &r, allowed, 2);
	CHECK(core_find_extension(one, &r, 1, &length) == 17 && core_find_extension(one, &r, 5, &length) == 25);
	CHECK(!core_find_extension(one, &r, 4, &length) && !one[18] && !one[21] && !one[27]);
	CHECK(core_parse_rtp(two, sizeof(two), &r));
	CHECK(core_find_extension(two, &r, 7, &length) == 20 && length == 2);
	CHECK(core_find_extension(two, &r, 200, &length) == 18 && length == 0);
	core_filter_extensions(two, &r, allowed, 2);
	CHECK(!two[16] && !two[18] && !two[20] && !two[21]);
}

static void feed(struct core_account *a, u16 sequence, u64 now_us)
{
	struct core_rtp rtp = { .sequence = sequence, .timestamp = 160 * (u32)sequence };

	core_account_rtp(a, &rtp, 172, now_us, 8000);
}

static void losses_are_counted_as_in_user_space(void)
{
	struct core_account a = {};
	u64 t = 1700000000000000ull;
	int i;

	/* every tenth is lost, every tenth comes one late, every tenth twice */
	for (i = 65000; i < 66000; i++) {
		int sequence = i % 10 == 4 ? i + 1 : i % 10 == 5 ? i - 1 : i;

		if (i % 10 == 7)
			continue;
		feed(&a, sequence, t + 20000 * (u64)(i - 65000));
		if (i % 10 == 8)
			feed(&a, sequence, t + 20000 * (u64)(i - 65000));
	}
	CHECK(a.packets == 1000 && a.bytes == 172000 && a.track.highest == 65999);
	CHECK(a.lost == 100 && a.duplicates == 100, "%d lost, %d twice", (int)a.lost, (int)a.duplicates);
	CHECK(a.track.jitter_16us / 16 > 2000 && a.track.jitter_16us / 16 < 15000, "jitter %d",
	      (int)a.track.jitter_16us / 16);
	feed(&a, 40000, 0);
	CHECK(a.lost == 100 && a.track.window == 1);
	feed(&a, 40041, 0);
	CHECK(a.lost == 140);
	feed(&a, 40020, 0);
	CHECK(a.lost == 139);
	feed(&a, 40141, 0);
	feed(&a, 40041, 0);
	CHECK(a.lost == 238 && a.duplicates == 101);
	/* Late right after it was handed over: lost in user space, found here. */
	memset(&a, 0, sizeof(a));
	a.track.highest = 5;
	a.track.window = 0x35;
	a.track.started = 1;
	feed(&a, 4, 0);
	CHECK(a.lost == -1 && a.track.window == 0x37);
	feed(&a, 65535, 0);
	CHECK(a.track.highest == 65535);
}

static struct core_packet *new_packet(u32 n, u64 us)
{
	struct core_packet *p = calloc(1, sizeof(*p) + n);

	p->length = n;
	p->arrival_us = us;
	return p;
}

static int free_chain(struct core_packet *p)
{
	int n = 0;

	for (; p; n++) {
		struct core_packet *next = p->next;

		free(p);
		p = next;
	}
	return n;
}

static void queue_drops_the_oldest(void)
{
	static const struct {
		const char *name;
		u32 packets, bytes;
		u64 age;
		u32 left;
	} cases[] = {
		{ "no limit", 0, 0, 0, 100 },
		{ "packets", 10, 0, 0, 10 },
		{ "octets", 0, 10 * (200 + CORE_PACKET_COST), 0, 10 },
		{ "time", 0, 0, 400000, 21 },
		{ "one always fits", 0, 1, 1, 1 },
	};
	size_t i;
	int k;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct core_queue q = {
			.max_packets = cases[i].packets, .max_bytes = cases[i].bytes, .max_age_us = cases[i].age,
		};
		int gone = 0;

		for (k = 0; k < 100; k++)
			gone += free_chain(core_queue_push(&q, new_packet(200, 20000 * k)));
		CHECK(q.packets == cases[i].left && q.dropped == 100 - q.packets && gone == (int)q.dropped,
		      "%s: %u", cases[i].name, q.packets);
		for (k = q.dropped; k < 100; k++) {
			struct core_packet *p = core_queue_pop(&q);

			CHECK(p && p->arrival_us == (u64)20000 * k, "%s", cases[i].name);
			free(p);
		}
		CHECK(!core_queue_pop(&q) && !q.bytes && !q.packets && !q.last);
	}
}

static u32 check_of(const u8 *p, size_t n, u32 sum)
{
	size_t i;

	for (i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (u32)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void packets_of_taps_have_right_checksums(void)
{
	u8 four[28 + 33] = { 0x45, 0, 9, 9, 0, 0, 0, 0, 64, 17, 1, 1, 10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4, 5, 6 };
	u8 six[48 + 7] = { 0x60, 0, 0, 0, 9, 9, 17, 64, [8] = 1, [23] = 2, [40] = 1 };

	core_finish_packet(four, sizeof(four));
	CHECK(core_be16(four + 2) == sizeof(four) && core_be16(four + 24) == sizeof(four) - 20);
	CHECK(check_of(four, 20, 0) == 0xffff);
	CHECK(check_of(four + 20, sizeof(four) - 20, check_of(four + 12, 8, 17 + sizeof(four) - 20)) == 0xffff);
	core_finish_packet(six, sizeof(six));
	CHECK(core_be16(six + 4) == 15);
	CHECK(check_of(six + 40, 15, check_of(six + 8, 32, 17 + 15)) == 0xffff);
}

static void commands_are_validated(void)
{
	struct rtpe_target target = {
		.local = { .family = 4, .port = 1, .ip = { 1 } }, .outputs = 1,
	};
	struct rtpe_header header = { RTPE_ABI_MAGIC, RTPE_ABI_VERSION, RTPE_ADD_TARGET, sizeof(target), 0 };
	struct rtpe_target t;

	CHECK(core_validate_header(&header, sizeof(target)) == 0);
	CHECK(core_validate_header(&header, sizeof(header) - 1) == -EIO);
	CHECK(core_validate_header(&header, sizeof(target) - 1) == -EMSGSIZE);
	header.length++;
	CHECK(core_validate_header(&header, sizeof(target) + 1) == -ERANGE);
	header.command = 99;
	CHECK(core_validate_header(&header, sizeof(target) + 1) == -EINVAL);
	CHECK(core_validate_target(&target) == 0);
#define BAD(change) do { t = target; t.change; CHECK(core_validate_target(&t) < 0); } while (0)
	BAD(local.family = 5);
	BAD(local.port = 0);
	BAD(local.ip[0] = 0);
	BAD(local.ip[4] = 1);
	BAD(flags = 0x8000);
	BAD(outputs = 33);
	BAD(outputs = 0);
	BAD(payloads = 33);
	BAD(groups = 9);
	BAD(mismatch = 3);
	BAD(mismatch = 1);
	BAD(reserved[1] = 1);
	BAD(payloads = 2);
	BAD(mid[3].length = 33);
	BAD(ssrc[1].ssrc = 7);
	BAD(decrypt.key_length = 16);
	BAD(decrypt.cipher = 1);
	target.decrypt = (struct rtpe_crypto){ .cipher = 1, .hmac = 1, .rtp_tag = 10, .rtcp_tag = 10,
					       .key_length = 24, .salt_length = 14 };
	CHECK(core_validate_target(&target) == 0);
	BAD(decrypt.key_length = 17);
	BAD(decrypt.key_length = 33);
	BAD(decrypt.salt_length = 15);
	BAD(decrypt.rtp_tag = 20);
	BAD(decrypt.mki_length = 256);
	BAD(decrypt.hmac = 0);
	BAD(decrypt.cipher = 3);
	CHECK(!core_validate_name("call-1") && core_validate_name("") && core_validate_name("..") &&
	      core_validate_name(".") && core_validate_name("a/b") && core_validate_name("a\nb") &&
	      !core_validate_name("..."));
}

static void srtp_is_that_of_the_other_implementation(const char *path)
{
	FILE *file = fopen(path, "r");
	struct core_window sent = {}, received = {}, rtcp_received = {};
	struct core_srtp s = {}, in = {};
	struct vector v = {};
	u32 rtcp_index = 0;
	int n = 0;

	while (file && next_vector(file, &v)) {
		u8 p[1024];
		int length, i;

		if (v.new_key) {
			close_srtp(&s);
			close_srtp(&in);
			open_srtp(&s, &v.crypto);
			open_srtp(&in, &v.crypto);
			memset(&sent, 0, sizeof(sent));
			memset(&received, 0, sizeof(received));
			memset(&rtcp_received, 0, sizeof(rtcp_received));
			rtcp_index = 0;
		}
		memcpy(p, v.clear, v.clear_n);
		length = v.rtcp ? core_protect_rtcp(&s, &rtcp_index, p, v.clear_n) :
				  core_protect_rtp(&s, &sent, p, v.clear_n);
		CHECK(length == v.sealed_n && !memcmp(p, v.sealed, length), "vector %d protected", n);
#define UNPROTECT(length) (v.rtcp ? core_unprotect_rtcp(&in, &rtcp_received, p, length) : \
				    core_unprotect_rtp(&in, &received, p, length))
		/* Any octet wrong: refused, and left as it was. */
		for (i = 0; i < v.sealed_n && (v.crypto.rtp_tag || v.rtcp); i++) {
			u8 wrong[1024];

			memcpy(p, v.sealed, v.sealed_n);
			p[i] ^= 0x10;
			memcpy(wrong, p, v.sealed_n);
			length = UNPROTECT(v.sealed_n);
			CHECK(length == -EBADMSG || length == -EMSGSIZE || length == -EALREADY, "vector %d octet %d: %d",
			      n, i, length);
			CHECK(!memcmp(p, wrong, v.sealed_n), "vector %d octet %d was changed", n, i);
		}
		memcpy(p, v.sealed, v.sealed_n);
		length = UNPROTECT(v.sealed_n);
		CHECK(length == v.clear_n && !memcmp(p, v.clear, length), "vector %d unprotected: %d", n, length);
		memcpy(p, v.sealed, v.sealed_n);
		length = UNPROTECT(v.sealed_n);
		CHECK(length == -EALREADY || (!v.crypto.rtp_tag && !v.rtcp), "vector %d replayed: %d", n, length);
		n++;
	}
	CHECK(n > 400, "%d vectors", n);
	close_srtp(&s);
	close_srtp(&in);
	if (file)
		fclose(file);
}

int main(int argc, char **argv)
{
	long rounds = argc > 2 ? atol(argv[2]) : 20000, i;
	u64 state = 88172645463325252ull;

	window_follows_the_sequence_number_over_the_wrap();
	window_knows_used_and_too_old_indices();
	datagrams_are_told_apart();
	extensions_are_found_and_filtered();
	losses_are_counted_as_in_user_space();
	queue_drops_the_oldest();
	packets_of_taps_have_right_checksums();
	commands_are_validated();
	failures += test_players();
	if (argc > 1)
		srtp_is_that_of_the_other_implementation(argv[1]);
	for (i = 0; i < rounds; i++) {
		/* Memory of its own and no longer: the sanitizer sees one octet too many. */
		size_t n = state % 3 ? state / 3 % 96 : state / 3 % 2200, k;
		u8 *p = malloc(n + 1);

		for (k = 0; k < n; k++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			/* what is looked for must be found now and then */
			p[k] = state % 5 ? state >> 32 : (u8[]){ 0x80, 0x90, 0xbe, 0xde, 0x10, 0, 1, 200, 0x45, 17 }[state / 5 % 10];
		}
		if (n > 0 && i % 2)
			p[0] = 0x80 | (p[0] & 0x3f);
		any_input(p, n);
		free(p);
		state = state * 6364136223846793005ull + 1442695040888963407ull;
	}
	printf("core: %s (%ld generated inputs)\n", failures ? "FAILED" : "ok", rounds);
	return failures != 0;
}
