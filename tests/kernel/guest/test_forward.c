// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Forwarding over lo: what leaves, from where, what is left to the socket, and
 * what was counted. The party is at port 4000, the receiver at 5000, the relay
 * at 30000 (and sends from 30002).
 */
#include <netinet/in.h>
#include <netinet/ip.h>

#include "rig.h"

#define WAIT	3000		/* for what must come */
#define QUIET	60		/* for what must not */

static int party, receiver, daemon_socket;
static const char *ip;
static uint8_t sent[2048], got[4096];

static void open_sockets(const char *address_text)
{
	ip = address_text;
	party = udp_socket(ip, 4000);
	receiver = udp_socket(ip, 5000);
	daemon_socket = udp_socket(ip, 30000);
}

static void close_sockets(void)
{
	close(party);
	close(receiver);
	close(daemon_socket);
}

static struct rtpe_address at(int port)
{
	return address(ip, port);
}

static struct rtpe_destination output_to(int port)
{
	return plain_output(at(30000), at(30002), at(port));
}

enum way { FORWARDED, LEFT, DROPPED };

/* Sends the packet and sees what becomes of it. The octets in got, or -1. */
static int expect(enum way way, int n, const char *what)
{
	int r, d;

	send_to(party, ip, 30000, sent, n);
	r = receive(receiver, got, sizeof(got), way == FORWARDED ? WAIT : QUIET);
	CHECK((r >= 0) == (way == FORWARDED), "%s: %d octets at the receiver", what, r);
	if (way == FORWARDED)
		return r;
	d = receive(daemon_socket, got, sizeof(got), way == LEFT ? WAIT : QUIET);
	CHECK((d >= 0) == (way == LEFT), "%s: %d octets at the daemon", what, d);
	if (way == LEFT)
		CHECK(d == n && !memcmp(got, sent, n), "%s: changed on its way up", what);
	return d;
}

static void test_plain(void)
{
	struct rtpe_target target = plain_target(at(30000), RTPE_TARGET_RTP | RTPE_TARGET_RTP_STATS);
	struct rtpe_destination output = output_to(5000);
	struct rtpe_statistics s;
	struct sockaddr_storage from;
	int i, n, r;

	test_name = "plain";
	target.ssrc[0].ssrc = 0xabcd0123;
	target.ssrc[0].flags = RTPE_SSRC_USED;
	target.payloads = 1;
	target.payload[0].payload_type = 8;
	target.payload[0].clock_rate = 8000;
	add_target(&target);
	n = make_rtp(sent, 8, 65530, 160, 0xabcd0123, 160);
	expect(LEFT, n, "without output");
	add_output(&output);
	for (i = 0; i < 10; i++) {
		n = make_rtp(sent, 8, 65530 + i, 160 * i, 0xabcd0123, 160);
		send_to(party, ip, 30000, sent, n);
		r = receive_from(receiver, got, sizeof(got), WAIT, &from);
		CHECK(r == n && !memcmp(got, sent, n), "packet %d: %d octets", i, r);
		/* (the port is at the same place in both families) */
		CHECK_EQ(ntohs(((struct sockaddr_in *)&from)->sin_port), 30002);
	}
	n = make_rtp(sent, 8, 65540 + 5, 1600, 0xabcd0123, 33);
	CHECK_EQ(expect(FORWARDED, n, "after a gap"), n);
	s = statistics_of(at(30000));
	CHECK_EQ(s.input.packets, 11);
	CHECK_EQ(s.input.bytes, 10 * 172 + 45);
	CHECK_EQ(s.input.errors, 0);
	CHECK_EQ(s.payload_packets[0], 11);
	CHECK_EQ(s.output[0].counters.packets, 11);
	CHECK_EQ(s.output[0].counters.bytes, 10 * 172 + 45);
	CHECK_EQ(s.ssrc[0].packets, 11);
	CHECK_EQ(s.ssrc[0].bytes, 10 * 172 + 45);
	CHECK_EQ(s.ssrc[0].lost, 5);
	CHECK_EQ(s.ssrc[0].ssrc.rtp_index, 65545);
	CHECK_EQ(s.ssrc[0].track.timestamp, 1600);
	CHECK_EQ(s.output[0].ssrc[0].rtp_index, 65545);
	CHECK_EQ(delete_target(at(30000), &s), 0);
	CHECK_EQ(s.input.packets, 11);
	CHECK_EQ(delete_target(at(30000), NULL), -ENOENT);
	expect(LEFT, n, "after deletion");
}

static void test_classification(void)
{
	struct rtpe_target target = plain_target(at(30000), RTPE_TARGET_RTP | RTPE_TARGET_RTP_ONLY |
			RTPE_TARGET_DTLS | RTPE_TARGET_STUN | RTPE_TARGET_PT_FILTER | RTPE_TARGET_TRACK_SSRC);
	struct rtpe_destination output = output_to(5000);
	static const uint8_t stun[28] = {
		0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
		0x80, 0x28, 0, 4, 1, 2, 3, 4,
	};
	struct rtpe_statistics s;
	int n;

	test_name = "classification";
	target.payloads = 2;
	target.payload[0].payload_type = 0;
	target.payload[1].payload_type = 101;
	target.ssrc[0].ssrc = 1;
	target.ssrc[0].flags = RTPE_SSRC_USED;
	add_target(&target);
	add_output(&output);
	expect(FORWARDED, make_rtp(sent, 0, 1, 1, 1, 160), "known");
	expect(FORWARDED, make_rtp(sent, 101, 2, 1, 1, 4), "second payload type");
	expect(FORWARDED, make_rtp(sent, 0, 3, 1, 1, 0), "no payload");
	expect(LEFT, make_rtp(sent, 8, 3, 1, 1, 160), "other payload type");
	expect(LEFT, make_rtp(sent, 0, 3, 1, 2, 160), "other SSRC");
	memcpy(sent, stun, sizeof(stun));
	expect(LEFT, sizeof(stun), "STUN");
	memset(sent, 22, 60);
	expect(LEFT, 60, "DTLS");
	expect(LEFT, 0, "nothing");
	expect(LEFT, 1, "one octet");
	make_rtp(sent, 0, 3, 1, 1, 160);
	expect(LEFT, 11, "short");
	sent[0] = 0x8f;
	expect(LEFT, 40, "CSRCs missing");
	sent[0] = 0x90;
	memset(sent + 12, 0xff, 4);
	expect(LEFT, 172, "extension missing");
	n = make_rtp(sent, 201 & 0x7f, 7, 0, 0, 20);
	sent[1] = 201;
	put32(sent + 4, 1);
	expect(LEFT, n, "RTCP");
	CHECK_EQ(delete_target(at(30000), &s), 0);
	CHECK_EQ(s.input.packets, 3);
	CHECK_EQ(s.reasons[RTPE_REASON_PAYLOAD], 1);
	CHECK_EQ(s.reasons[RTPE_REASON_SSRC], 1);
	CHECK(s.reasons[RTPE_REASON_MALFORMED] >= 4);
}

static void test_source(void)
{
	static const enum way ways[] = {
		[RTPE_MISMATCH_IGNORE] = FORWARDED,
		[RTPE_MISMATCH_DROP] = DROPPED,
		[RTPE_MISMATCH_PROPAGATE] = LEFT,
	};
	int mismatch;

	test_name = "source";
	for (mismatch = RTPE_MISMATCH_IGNORE; mismatch <= RTPE_MISMATCH_PROPAGATE; mismatch++) {
		struct rtpe_target target = plain_target(at(30000), RTPE_TARGET_RTP);
		struct rtpe_destination output = output_to(5000);
		struct rtpe_statistics s;

		target.mismatch = mismatch;
		target.expected = at(4001);
		add_target(&target);
		add_output(&output);
		expect(ways[mismatch], make_rtp(sent, 0, 1, 1, 1, 160), "wrong source");
		CHECK_EQ(delete_target(at(30000), &s), 0);
		CHECK_EQ(s.reasons[RTPE_REASON_SOURCE], mismatch != RTPE_MISMATCH_IGNORE);
		target.expected = at(4000);
		add_target(&target);
		add_output(&output);
		expect(FORWARDED, make_rtp(sent, 0, 1, 1, 1, 160), "right source");
		CHECK_EQ(delete_target(at(30000), NULL), 0);
	}
}

static void test_outputs(void)
{
	struct rtpe_target target = plain_target(at(30000), RTPE_TARGET_RTP);
	struct rtpe_destination output = output_to(5000);
	int others[2] = { udp_socket(ip, 5002), udp_socket(ip, 5004) };
	uint8_t first[2048];
	struct rtpe_statistics s;
	int n;

	test_name = "outputs";
	target.outputs = 3;
	target.ssrc[1].ssrc = 77;
	target.ssrc[1].flags = RTPE_SSRC_USED;
	add_target(&target);
	/* unchanged */
	add_output(&output);
	CHECK_EQ(command_write(control, RTPE_ADD_DESTINATION, &output, sizeof(output)), -EEXIST);
	/* other numbers */
	output.number = 1;
	output.destination = at(5002);
	output.flags = RTPE_OUTPUT_SSRC_SUBST;
	output.ssrc[1].out.ssrc = 0xfeedface;
	output.ssrc[1].out.flags = RTPE_SSRC_USED;
	output.ssrc[1].sequence_offset = 0xfff0;
	output.ssrc[1].timestamp_offset = 1000;
	add_output(&output);
	n = make_rtp(sent, 0, 100, 500, 77, 160);
	expect(LEFT, n, "third output missing");
	/* silence, and one payload type not at all */
	output.number = 2;
	output.destination = at(5004);
	output.flags = 0;
	memset(output.ssrc, 0, sizeof(output.ssrc));
	output.payloads = 3;
	output.payload[0].payload_type = 0;
	output.payload[0].action = RTPE_PAYLOAD_REPLACE;
	output.payload[0].pattern_length = 3;
	memcpy(output.payload[0].pattern, "abc", 3);
	output.payload[1].payload_type = 96;
	output.payload[1].action = RTPE_PAYLOAD_RENAME;
	output.payload[1].renamed = 98;
	output.payload[2].payload_type = 101;
	output.payload[2].action = RTPE_PAYLOAD_BLACKHOLE;
	add_output(&output);
	output.number = 3;
	CHECK_EQ(command_write(control, RTPE_ADD_DESTINATION, &output, sizeof(output)), -ERANGE);

	CHECK_EQ(expect(FORWARDED, n, "three outputs"), n);
	CHECK(!memcmp(got, sent, n));
	CHECK_EQ(receive(others[0], got, sizeof(got), WAIT), n);
	CHECK_EQ(get16(got + 2), (100 + 0xfff0) & 0xffff);
	CHECK_EQ(get32(got + 4), 1500);
	CHECK_EQ(get32(got + 8), 0xfeedface);
	CHECK(!memcmp(got + 12, sent + 12, 160));
	CHECK_EQ(receive(others[1], first, sizeof(first), WAIT), n);
	CHECK(!memcmp(first, sent, 12) && !memcmp(first + 12, "abcabca", 7) && first[171] == 'a');
	n = make_rtp(sent, 101, 101, 500, 77, 4);
	CHECK_EQ(expect(FORWARDED, n, "blackhole at one output"), n);
	CHECK_EQ(receive(others[0], got, sizeof(got), WAIT), n);
	CHECK_EQ(receive(others[1], got, sizeof(got), QUIET), -1);
	n = make_rtp(sent, 0x80 | 96, 102, 500, 77, 4);
	CHECK_EQ(expect(FORWARDED, n, "renamed at one output"), n);
	CHECK_EQ(got[1], 0x80 | 96);
	CHECK_EQ(receive(others[0], got, sizeof(got), WAIT), n);
	CHECK_EQ(receive(others[1], got, sizeof(got), WAIT), n);
	CHECK_EQ(got[1], 0x80 | 98);
	CHECK_EQ(delete_target(at(30000), &s), 0);
	CHECK_EQ(s.input.packets, 3);
	CHECK_EQ(s.output[0].counters.packets, 3);
	CHECK_EQ(s.output[1].counters.packets, 3);
	CHECK_EQ(s.output[2].counters.packets, 2);
	CHECK_EQ(s.output[1].ssrc[1].ssrc, 0xfeedface);
	close(others[0]);
	close(others[1]);
}

static int tos_of_next(int fd)
{
	char space[256];
	struct iovec data = { got, sizeof(got) };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space),
	};
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct cmsghdr *c;

	if (poll(&wait, 1, WAIT) != 1 || recvmsg(fd, &message, 0) < 0)
		return -1;
	for (c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) ||
		    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS))
			return *(uint8_t *)CMSG_DATA(c);
	return -2;
}

static void test_tos(void)
{
	struct rtpe_target target = plain_target(at(30000), RTPE_TARGET_RTP);
	struct rtpe_destination output = output_to(5000);
	int on = 1, set = 0x28, n = make_rtp(sent, 0, 1, 1, 1, 160);
	struct rtpe_statistics s;

	test_name = "tos";
	if (strchr(ip, ':')) {
		setsockopt(receiver, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on));
		setsockopt(party, IPPROTO_IPV6, IPV6_TCLASS, &set, sizeof(set));
	} else {
		setsockopt(receiver, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
		setsockopt(party, IPPROTO_IP, IP_TOS, &set, sizeof(set));
	}
	add_target(&target);
	add_output(&output);
	send_to(party, ip, 30000, sent, n);
	CHECK_EQ(tos_of_next(receiver), 0x28);
	CHECK_EQ(delete_target(at(30000), &s), 0);
	CHECK_EQ(s.last_tos, 0x28);
	output.flags = RTPE_OUTPUT_TOS;
	output.tos = 0xb8;
	add_target(&target);
	add_output(&output);
	send_to(party, ip, 30000, sent, n);
	CHECK_EQ(tos_of_next(receiver), 0xb8);
	CHECK_EQ(delete_target(at(30000), NULL), 0);
}

static void test_rtcp(void)
{
	struct rtpe_target target = plain_target(at(30000), RTPE_TARGET_RTP | RTPE_TARGET_RTCP_FORWARD);
	struct rtpe_destination output = output_to(5000);
	int rtcp = udp_socket(ip, 5001), n = 28;

	test_name = "rtcp";
	target.outputs = 2;
	add_target(&target);
	add_output(&output);
	output.number = 1;
	output.flags = RTPE_OUTPUT_RTCP;
	output.destination = at(5001);
	add_output(&output);
	make_rtp(sent, 0, 6, 1, 1, 160);
	expect(FORWARDED, 172, "RTP beside RTCP");
	CHECK_EQ(receive(rtcp, got, sizeof(got), QUIET), -1);
	sent[1] = 200;
	send_to(party, ip, 30000, sent, n);
	CHECK_EQ(receive(rtcp, got, sizeof(got), WAIT), n);
	CHECK(!memcmp(got, sent, n));
	CHECK_EQ(receive(daemon_socket, got, sizeof(got), QUIET), -1);
	CHECK_EQ(delete_target(at(30000), NULL), 0);
	/* passed up as well, but not feedback */
	target.flags |= RTPE_TARGET_RTCP_COPY;
	output.number = 0;
	output.flags = 0;
	add_target(&target);
	add_output(&output);
	output.number = 1;
	output.flags = RTPE_OUTPUT_RTCP;
	add_output(&output);
	send_to(party, ip, 30000, sent, n);
	CHECK_EQ(receive(rtcp, got, sizeof(got), WAIT), n);
	CHECK_EQ(receive(daemon_socket, got, sizeof(got), WAIT), n);
	sent[1] = 206;
	send_to(party, ip, 30000, sent, n);
	CHECK_EQ(receive(rtcp, got, sizeof(got), WAIT), n);
	CHECK_EQ(receive(daemon_socket, got, sizeof(got), QUIET), -1);
	CHECK_EQ(delete_target(at(30000), NULL), 0);
	close(rtcp);
}

static void test_extensions(void)
{
	struct rtpe_target target = plain_target(at(30000), RTPE_TARGET_RTP);
	struct rtpe_destination output = output_to(5000);
	static const uint8_t extension[] = { 0xbe, 0xde, 0, 2, 0x10, 0xaa, 0x21, 1, 2, 0, 0x30, 0xbb };
	static const uint8_t filtered[] = { 0xbe, 0xde, 0, 2, 0, 0, 0x21, 1, 2, 0, 0, 0 };

	test_name = "extensions";
	output.flags = RTPE_OUTPUT_EXTMAP;
	output.extensions = 1;
	output.extension[0] = 2;
	add_target(&target);
	add_output(&output);
	make_rtp(sent, 0, 1, 1, 1, 160);
	sent[0] |= 0x10;
	memcpy(sent + 12, extension, sizeof(extension));
	CHECK_EQ(expect(FORWARDED, 172, "extensions"), 172);
	CHECK(!memcmp(got + 12, filtered, sizeof(filtered)) && !memcmp(got + 24, sent + 24, 148));
	CHECK_EQ(delete_target(at(30000), NULL), 0);
}

static void test_blackhole(void)
{
	struct rtpe_target target = plain_target(at(30000), RTPE_TARGET_RTP | RTPE_TARGET_NON_FORWARDING |
							    RTPE_TARGET_BLACKHOLE);
	struct rtpe_statistics s;

	test_name = "blackhole";
	target.outputs = 0;
	add_target(&target);
	expect(DROPPED, make_rtp(sent, 0, 1, 1, 1, 160), "blackhole");
	CHECK_EQ(delete_target(at(30000), &s), 0);
	CHECK_EQ(s.reasons[RTPE_REASON_BLACKHOLE], 1);
	CHECK_EQ(s.input.packets, 1);
	/* neither forwarded nor swallowed */
	target.flags &= ~RTPE_TARGET_BLACKHOLE;
	add_target(&target);
	expect(LEFT, make_rtp(sent, 0, 1, 1, 1, 160), "non-forwarding");
	CHECK_EQ(delete_target(at(30000), NULL), 0);
}

/* Two relays that send to each other: the packet must not go round for ever. */
static void test_loop(void)
{
	struct rtpe_target target = plain_target(at(30000), RTPE_TARGET_RTP);
	struct rtpe_destination output = plain_output(at(30000), at(30002), at(30010));
	struct rtpe_statistics s;
	int i;

	test_name = "loop";
	add_target(&target);
	add_output(&output);
	target.local = at(30010);
	output = plain_output(at(30010), at(30012), at(30000));
	add_target(&target);
	add_output(&output);
	send_to(party, ip, 30000, sent, make_rtp(sent, 0, 1, 1, 1, 160));
	for (i = 0; i < 50 && receive(daemon_socket, got, sizeof(got), 100) < 0; i++)
		;
	CHECK_EQ(delete_target(at(30000), &s), 0);
	CHECK(s.input.packets > 10 && s.input.packets <= 32, "%llu rounds",
	      (unsigned long long)s.input.packets);
	CHECK_EQ(delete_target(at(30010), NULL), 0);
}

static void test_list(void)
{
	struct rtpe_target target = plain_target(at(30000), RTPE_TARGET_RTP | RTPE_TARGET_DTLS);
	struct rtpe_destination output = output_to(5000);
	char line[128], *list, *blist;

	test_name = "list";
	target.payloads = 1;
	target.expected = at(4000);
	target.mismatch = RTPE_MISMATCH_PROPAGATE;
	add_target(&target);
	list = read_file("/proc/rtpengine/0/list");
	CHECK(strstr(list, "    outputs not fully filled (1 missing)\n"), "%s", list);
	free(list);
	add_output(&output);
	expect(FORWARDED, make_rtp(sent, 0, 1, 1, 1, 160), "for the list");
	list = read_file("/proc/rtpengine/0/list");
	if (strchr(ip, ':')) {
		CHECK(strstr(list, "local inet6 [0:0:0:0:0:0:0:1]:30000\n") == list, "%s", list);
	} else {
		CHECK(strstr(list, "local inet4 127.0.0.1:30000\n    expect inet4 127.0.0.1:4000\n"
				   "    src mismatch action: propagate\n") == list, "%s", list);
		snprintf(line, sizeof(line), "    stats: %20d bytes, %20d packets, %20d errors\n", 172, 1, 0);
		CHECK(strstr(list, line), "%s", list);
		snprintf(line, sizeof(line), "        RTP payload type   0: %20d bytes, %20d packets\n", 172, 1);
		CHECK(strstr(list, line), "%s", list);
		CHECK(strstr(list, "    output #0 (media #0)\n       src inet4 127.0.0.1:30002\n"
				   "       dst inet4 127.0.0.1:5000\n"), "%s", list);
		CHECK(strstr(list, "    options: RTP DTLS\n"), "%s", list);
	}
	free(list);
	blist = read_file("/proc/rtpengine/0/blist");
	CHECK_EQ(((struct rtpe_statistics *)blist)->input.packets, 1);
	CHECK_EQ(((struct rtpe_statistics *)blist)->local.port, 30000);
	free(blist);
	CHECK_EQ(delete_target(at(30000), NULL), 0);
}

static void test_other_family(void)
{
	struct rtpe_target target = plain_target(address("127.0.0.1", 30000), RTPE_TARGET_RTP);
	struct rtpe_destination output = plain_output(address("127.0.0.1", 30000), address("::1", 30002),
						      address("::1", 5000));
	int from = udp_socket("127.0.0.1", 4000), to = udp_socket("::1", 5000), n;
	int from6 = udp_socket("::1", 4000), to4 = udp_socket("127.0.0.1", 5000);

	test_name = "other family";
	add_target(&target);
	add_output(&output);
	n = make_rtp(sent, 0, 1, 1, 1, 160);
	send_to(from, "127.0.0.1", 30000, sent, n);
	CHECK_EQ(receive(to, got, sizeof(got), WAIT), n);
	CHECK(!memcmp(got, sent, n));
	CHECK_EQ(delete_target(address("127.0.0.1", 30000), NULL), 0);
	target.local = address("::1", 30000);
	output = plain_output(target.local, address("127.0.0.1", 30002), address("127.0.0.1", 5000));
	add_target(&target);
	add_output(&output);
	send_to(from6, "::1", 30000, sent, n);
	CHECK_EQ(receive(to4, got, sizeof(got), WAIT), n);
	CHECK_EQ(delete_target(target.local, NULL), 0);
	close(from);
	close(to);
	close(from6);
	close(to4);
}

void test_forward(void)
{
	static const char *const addresses[] = { "127.0.0.1", "::1" };
	int i;

	for (i = 0; i < 2; i++) {
		open_sockets(addresses[i]);
		test_plain();
		test_classification();
		test_source();
		test_outputs();
		test_tos();
		test_rtcp();
		test_extensions();
		test_blackhole();
		test_loop();
		test_list();
		close_sockets();
	}
	test_other_family();
}
