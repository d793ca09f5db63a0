// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Between hosts: network namespaces a (10.0.1.2) and b (10.0.2.2), the relay
 * between them. Checksums, fragments, routes; and the cost of a packet.
 */
#define _GNU_SOURCE
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <time.h>

#include "rig.h"

static uint8_t sent[8192], got[8192];

static void enter(const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), name ? "/run/netns/%s" : "/proc/1/ns/net", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || setns(fd, CLONE_NEWNET)) {
		printf("no namespace %s: %s\n", path, strerror(errno));
		exit(1);
	}
	close(fd);
}

/* Checksums are then made and verified for real. */
static void no_checksum_offload(const char *device)
{
	struct ethtool_value off = { .cmd = ETHTOOL_STXCSUM };
	struct ifreq request = { .ifr_data = (char *)&off };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	CHECK(!ioctl(fd, SIOCETHTOOL, &request), "%s: %s", device, strerror(errno));
	close(fd);
}

static unsigned int sum16(const void *data, int n, unsigned int sum)
{
	const uint8_t *p = data;
	int i;

	for (i = 0; i < n; i++)
		sum += i & 1 ? p[i] : p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* From a raw socket, with a checksum of our choice. */
static void send_raw(int raw, const uint8_t *payload, int n, int wrong)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP };
	struct udphdr udp = { .source = htons(4000), .dest = htons(30000), .len = htons(8 + n) };
	uint8_t p[1500];
	unsigned int sum;

	inet_pton(AF_INET, "10.0.1.2", &ip.saddr);
	inet_pton(AF_INET, "10.0.1.1", &ip.daddr);
	ip.tot_len = htons(28 + n);
	sum = sum16(&ip.saddr, 8, 17 + 8 + n);
	sum = sum16(&udp, 8, sum);
	sum = sum16(payload, n, sum);
	udp.check = htons((uint16_t)~sum + wrong);
	memcpy(p, &ip, 20);
	memcpy(p + 20, &udp, 8);
	memcpy(p + 28, payload, n);
	to.sin_addr.s_addr = ip.daddr;
	CHECK_EQ(sendto(raw, p, 28 + n, 0, (struct sockaddr *)&to, sizeof(to)), 28 + n);
}

void test_namespaces(void)
{
	struct rtpe_address local = address("10.0.1.1", 30000);
	struct rtpe_target target = plain_target(local, RTPE_TARGET_RTP);
	struct rtpe_destination output = plain_output(local, address("10.0.2.1", 30002), address("10.0.2.2", 5000));
	struct rtpe_statistics s;
	int from, to, raw, n, i;
	char *snmp;

	test_name = "namespaces";
	add_target(&target);
	add_output(&output);
	no_checksum_offload("rb");
	enter("a");
	no_checksum_offload("a");
	from = udp_socket("10.0.1.2", 4000);
	raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	enter("b");
	to = udp_socket("10.0.2.2", 5000);
	enter(NULL);
	/* lengths odd and even; one that is fragmented on both sides */
	for (i = 0; i < 40; i++) {
		n = make_rtp(sent, 0, i, i, 1, i == 20 ? 3000 : 3 * i);
		send_to(from, "10.0.1.1", 30000, sent, n);
		CHECK(receive(to, got, sizeof(got), 3000) == n && !memcmp(sent, got, n), "packet %d", i);
	}
	/* What was damaged on its way must not leave with a right checksum. */
	n = make_rtp(sent, 0, 1, 1, 1, 160);
	send_raw(raw, sent, n, 0);
	CHECK_EQ(receive(to, got, sizeof(got), 3000), n);
	send_raw(raw, sent, n, 1);
	CHECK_EQ(receive(to, got, sizeof(got), 100), -1);
	/* Routes are kept, but not for ever. */
	CHECK_EQ(system("ip route add 10.0.2.2/32 via 10.0.1.2"), 0);
	send_to(from, "10.0.1.1", 30000, sent, n);
	CHECK_EQ(receive(to, got, sizeof(got), 100), -1);
	CHECK_EQ(system("ip route del 10.0.2.2/32"), 0);
	send_to(from, "10.0.1.1", 30000, sent, n);
	CHECK_EQ(receive(to, got, sizeof(got), 3000), n);
	CHECK_EQ(system("ip route add blackhole 10.0.2.2/32"), 0);
	send_to(from, "10.0.1.1", 30000, sent, n);
	CHECK_EQ(receive(to, got, sizeof(got), 100), -1);
	CHECK_EQ(system("ip route del 10.0.2.2/32"), 0);
	send_to(from, "10.0.1.1", 30000, sent, n);
	CHECK_EQ(receive(to, got, sizeof(got), 3000), n);
	s = statistics_of(local);
	CHECK_EQ(s.output[0].counters.errors, 1);
	CHECK_EQ(s.reasons[RTPE_REASON_SEND], 1);
	enter("b");
	snmp = read_file("/proc/net/snmp");
	CHECK(strstr(snmp, "UdpLite") && strstr(snmp, "InCsumErrors"), "%s", snmp);
	/* Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors */
	{
		char *udp = strstr(strstr(snmp, "Udp: ") + 5, "Udp: ");
		unsigned int v[7] = {};

		sscanf(udp, "Udp: %u %u %u %u %u %u %u", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6]);
		CHECK(v[0] == 43 && !v[2] && !v[6], "%u datagrams, %u errors, %u wrong checksums", v[0], v[2], v[6]);
	}
	free(snmp);
	enter(NULL);
	CHECK_EQ(delete_target(local, NULL), 0);
	close(from);
	close(to);
	close(raw);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * Time from sendto() in a until recv() returns in b, one packet of 172 octets at
 * a time. Under --icount that is instructions.
 */
int measure_turns(const char *relay_ip, int relay_port, int count)
{
	uint64_t *times = calloc(count, sizeof(*times)), begin;
	int from, to, i, n;

	enter("a");
	from = udp_socket("10.0.1.2", 4000);
	enter("b");
	to = udp_socket("10.0.2.2", 5000);
	for (i = -20; i < count; i++) {
		n = make_rtp(sent, 0, i, i * 160, 0x1000, 160);
		begin = now_ns();
		send_to(from, relay_ip, relay_port, sent, n);
		if (receive(to, got, sizeof(got), 2000) < 0) {
			printf("turns: packet %d did not arrive\n", i);
			return 1;
		}
		if (i >= 0)
			times[i] = now_ns() - begin;
	}
	qsort(times, count, sizeof(*times), compare);
	printf("turns: median %llu ns, 10%% %llu, 90%% %llu\n", (unsigned long long)times[count / 2],
	       (unsigned long long)times[count / 10], (unsigned long long)times[count * 9 / 10]);
	return 0;
}
