// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A daemon that says anything, dies at any time, and hosts that send anything,
 * all at once. What is checked is that the kernel does not complain (the rig
 * looks), that nothing is left, and that a good daemon is served afterwards.
 */
#include <signal.h>
#include <sys/wait.h>

#include "rig.h"

static uint64_t state;

static uint32_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state >> 32;
}

static union {
	struct rtpe_header header;
	struct rtpe_target target;
	struct rtpe_destination destination;
	struct rtpe_statistics statistics;
	struct rtpe_call call;
	struct rtpe_stream stream;
	struct rtpe_packet packet;
	struct rtpe_media media;
	struct rtpe_frames frames;
	struct rtpe_player player;
	struct rtpe_player_statistics player_statistics;
	uint8_t octets[16384];
} m;

static const size_t sizes[] = {
	[RTPE_INIT] = sizeof(struct rtpe_init),
	[RTPE_ADD_TARGET] = sizeof(struct rtpe_target),
	[RTPE_ADD_DESTINATION] = sizeof(struct rtpe_destination),
	[RTPE_DEL_TARGET] = sizeof(struct rtpe_statistics),
	[RTPE_GET_STATISTICS] = sizeof(struct rtpe_statistics),
	[RTPE_ADD_CALL] = sizeof(struct rtpe_call),
	[RTPE_DEL_CALL] = sizeof(struct rtpe_call),
	[RTPE_ADD_STREAM] = sizeof(struct rtpe_stream),
	[RTPE_DEL_STREAM] = sizeof(struct rtpe_stream),
	[RTPE_PACKET] = sizeof(struct rtpe_packet) + 300,
	[RTPE_GET_STREAM] = sizeof(struct rtpe_stream),
	[RTPE_ADD_MEDIA] = sizeof(struct rtpe_media),
	[RTPE_ADD_FRAMES] = sizeof(struct rtpe_frames) + 3 * (sizeof(struct rtpe_frame) + 20),
	[RTPE_DEL_MEDIA] = sizeof(struct rtpe_media),
	[RTPE_START_PLAYER] = sizeof(struct rtpe_player),
	[RTPE_GET_PLAYER] = sizeof(struct rtpe_player_statistics),
	[RTPE_STOP_PLAYER] = sizeof(struct rtpe_player_statistics),
};

static void some_keys(struct rtpe_crypto *crypto)
{
	memset(crypto, 0, sizeof(*crypto));
	crypto->cipher = any() % 4;
	crypto->hmac = crypto->cipher != RTPE_CIPHER_AES_GCM;
	crypto->rtp_tag = crypto->hmac ? 10 : 16;
	crypto->rtcp_tag = crypto->rtp_tag;
	crypto->key_length = 16;
	crypto->salt_length = crypto->hmac ? 14 : 12;
	crypto->mki_length = any() % 4 ? 0 : any() % 256;
	if (any() % 4 == 0)
		memset(crypto, 0, sizeof(*crypto));
}

/* A message that is right but for a few octets, or not at all. */
static size_t make_message(int command)
{
	struct rtpe_address local = address("127.0.0.1", 30000 + any() % 4);
	size_t n = sizes[command];
	int i, changes;

	memset(&m, 0, sizeof(m));
	switch (command) {
	case RTPE_ADD_TARGET:
		m.target = plain_target(local, any() & RTPE_TARGET_FLAGS & ~RTPE_TARGET_INTERCEPT);
		m.target.outputs = m.target.flags & RTPE_TARGET_NON_FORWARDING ? 0 : 1 + any() % 3;
		m.target.ssrc[0].flags = RTPE_SSRC_USED;
		m.target.ssrc[0].ssrc = 1;
		m.target.groups = any() % 4;
		some_keys(&m.target.decrypt);
		if (any() % 2) {
			m.target.flags |= RTPE_TARGET_INTERCEPT;
			m.target.stream = any() % 4;
		}
		break;
	case RTPE_ADD_DESTINATION:
		m.destination = plain_output(local, address("127.0.0.1", 31000),
					     address("127.0.0.1", 30000 + any() % 8));
		m.destination.number = any() % 3;
		m.destination.flags = any() & RTPE_OUTPUT_FLAGS;
		m.destination.media = any() % 3;
		m.destination.ssrc[0].out.flags = RTPE_SSRC_USED;
		some_keys(&m.destination.encrypt);
		break;
	case RTPE_DEL_TARGET:
	case RTPE_GET_STATISTICS:
		m.statistics.local = local;
		break;
	case RTPE_ADD_CALL:
		snprintf(m.call.name, sizeof(m.call.name), "call%u", any() % 8);
		break;
	case RTPE_DEL_CALL:
		m.call.index = any() % 8;
		break;
	case RTPE_ADD_STREAM:
		m.stream.call = any() % 8;
		snprintf(m.stream.name, sizeof(m.stream.name), "stream%u", any() % 8);
		break;
	case RTPE_DEL_STREAM:
	case RTPE_GET_STREAM:
		m.stream.index = any() % 16;
		break;
	case RTPE_ADD_MEDIA:
		m.media.clock_rate = any() % 8 ? 8000 : any();
		break;
	case RTPE_ADD_FRAMES:
		m.frames.media = any() % 8;
		m.frames.count = 3;
		for (i = 0; i < 3; i++) {
			struct rtpe_frame frame = { .duration = any() % 400, .length = 20 };

			memcpy(m.octets + sizeof(m.frames) + i * (sizeof(frame) + 20), &frame, sizeof(frame));
		}
		break;
	case RTPE_DEL_MEDIA:
		/* now and then: most are used before they go */
		m.media.index = any() % 64;
		break;
	case RTPE_START_PLAYER:
		m.player.source = local;
		m.player.destination = address("127.0.0.1", 30000 + any() % 8);
		m.player.media = any() % 8;
		m.player.first_frame = any() % 4;
		m.player.plays = any() % 4;
		m.player.ssrc = 1;
		m.player.flags = any() & (RTPE_PLAYER_MARKER | RTPE_PLAYER_INDEX);
		some_keys(&m.player.encrypt);
		break;
	case RTPE_GET_PLAYER:
	case RTPE_STOP_PLAYER:
		m.player_statistics.index = any() % 16;
		break;
	case RTPE_PACKET:
		m.packet.stream = any() % 8;
		for (i = sizeof(m.packet); i < (int)n; i++)
			m.octets[i] = any();
		break;
	}
	changes = any() % 3 ? 0 : any() % 8;
	for (i = 0; i < changes; i++)
		m.octets[sizeof(m.header) + any() % (n - sizeof(m.header))] = any();
	m.header = (struct rtpe_header){ RTPE_ABI_MAGIC, RTPE_ABI_VERSION, command, n, 0 };
	if (any() % 16 == 0)
		m.octets[any() % sizeof(m.header)] ^= 1 << any() % 8;
	if (any() % 32 == 0)
		n = any() % sizeof(m);
	return n;
}

static bool has_reply(int command)
{
	switch (command) {
	case RTPE_ADD_TARGET:
	case RTPE_ADD_DESTINATION:
	case RTPE_DEL_CALL:
	case RTPE_DEL_STREAM:
	case RTPE_PACKET:
	case RTPE_ADD_FRAMES:
	case RTPE_DEL_MEDIA:
		return false;
	}
	return true;
}

static void bad_daemon(int rounds)
{
	struct rtpe_init init;
	int fd = open_control(0), i;

	initialise(fd, RTPE_ABI_VERSION, &init);
	for (i = 0; i < rounds; i++) {
		int command = 1 + any() % RTPE_STOP_PLAYER;
		size_t n = make_message(command);
		ssize_t done;

		/* half of them the wrong way round */
		if (any() % 8 ? has_reply(command) : any() % 2)
			done = read(fd, &m, n);
		else
			done = write(fd, &m, n);
		if (done > 0 && any() % 512 == 0) {
			free(read_file("/proc/rtpengine/0/list"));
			free(read_file("/proc/rtpengine/0/status"));
		}
	}
	close(fd);
}

static void bad_hosts(int rounds)
{
	int fd = udp_socket("127.0.0.1", 0), i;
	uint8_t p[1600];

	for (i = 0; i < rounds; i++) {
		size_t n = any() % 8 ? any() % 200 : any() % sizeof(p), k;
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(30000 + any() % 4) };

		to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		for (k = 0; k < n; k++)
			p[k] = any();
		if (n >= 12 && any() % 4) {
			p[0] = 0x80 | (any() % 4 ? 0 : p[0] & 0x3f);
			memset(p + 8, 0, 4);
			p[11] = 1;
			if (any() % 8 == 0)
				p[1] = 200 + any() % 7;
		}
		sendto(fd, p, n, 0, (struct sockaddr *)&to, sizeof(to));
	}
	close(fd);
}

static void bad_readers(int rounds)
{
	uint8_t p[512];
	int i;

	for (i = 0; i < rounds; i++) {
		char path[128];
		int fd;

		snprintf(path, sizeof(path), "/proc/rtpengine/0/calls/call%u/stream%u", any() % 8, any() % 8);
		fd = open(path, O_RDONLY | O_NONBLOCK);
		if (fd < 0)
			continue;
		if (any() % 2)
			(void)!read(fd, p, any() % sizeof(p));
		if (any() % 16 == 0)
			usleep(any() % 2000);
		close(fd);
	}
}

static int start(void (*work)(int), int rounds, uint64_t seed)
{
	int pid = fork();

	if (!pid) {
		state = seed * 0x9e3779b97f4a7c15ull + 1;
		work(rounds);
		_exit(0);
	}
	return pid;
}

void test_hostile(int rounds)
{
	struct rtpe_target target = plain_target(address("127.0.0.1", 30000), RTPE_TARGET_RTP);
	struct rtpe_destination output = plain_output(target.local, address("127.0.0.1", 30002),
						      address("127.0.0.1", 5000));
	struct rtpe_init init;
	uint8_t p[256];
	int i, party, to, n;

	test_name = "hostile";
	close(control);
	for (i = 0; i < 4; i++) {
		int bad[3] = { start(bad_daemon, rounds / 4, 4 * i + 1), start(bad_hosts, rounds / 4, 4 * i + 2),
			       start(bad_readers, rounds / 4, 4 * i + 3) };

		if (i == 3) {
			/* one dies in the middle of something, and the table is killed under another */
			usleep(300000);
			kill(bad[0], SIGKILL);
			waitpid(bad[0], NULL, 0);
			bad[0] = start(bad_daemon, rounds / 4, 99);
			usleep(300000);
			CHECK_EQ(main_control("kill 0"), 0);
			CHECK_EQ(main_control("add 0"), 0);
		}
		for (n = 0; n < 3; n++)
			waitpid(bad[n], NULL, 0);
	}
	CHECK_EQ(main_control("del 0"), 0);
	CHECK_EQ(main_control("add 0"), 0);
	control = open_control(0);
	CHECK_EQ(initialise(control, RTPE_ABI_VERSION, &init), 0);
	add_target(&target);
	add_output(&output);
	party = udp_socket("127.0.0.1", 4000);
	to = udp_socket("127.0.0.1", 5000);
	n = make_rtp(p, 0, 1, 1, 1, 160);
	send_to(party, "127.0.0.1", 30000, p, n);
	CHECK_EQ(receive(to, p, sizeof(p), 3000), n);
	close(party);
	close(to);
}
