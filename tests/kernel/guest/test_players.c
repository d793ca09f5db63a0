// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Players: media that the module sends by itself.  Packets are on time, numbers
 * go on, and nothing plays for somebody who is gone.
 */
#include <netinet/in.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "rig.h"

#define SSRC	0x51525354
#define WAIT	3000
#define QUIET	60
/* How late a packet may be in an emulator whose host has other things to do. */
#define LATE_MS	400

static int listener;
static uint8_t got[2048];

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int add_media(int fd, uint32_t clock_rate, uint32_t *index)
{
	struct rtpe_media media = { .clock_rate = clock_rate };
	int err = command_read(fd, RTPE_ADD_MEDIA, &media, sizeof(media));

	*index = media.index;
	return err;
}

/* Frames of 20 ms at 8000 Hz and 160 octets, each full of its number. */
static int add_frames(int fd, uint32_t media, int first, int count)
{
	static union {
		struct rtpe_frames head;
		uint8_t octets[65536];
	} m;
	size_t at = sizeof(m.head);
	int i;

	memset(&m.head, 0, sizeof(m.head));
	m.head.media = media;
	m.head.count = count;
	for (i = 0; i < count; i++) {
		struct rtpe_frame frame = { .duration = 160, .length = 160 };

		memcpy(m.octets + at, &frame, sizeof(frame));
		memset(m.octets + at + sizeof(frame), first + i, 160);
		at += sizeof(frame) + 160;
	}
	return command_write(fd, RTPE_ADD_FRAMES, &m, at);
}

static uint32_t media_of(int fd, int frames)
{
	uint32_t media = 0;

	CHECK_EQ(add_media(fd, 8000, &media), 0);
	CHECK_EQ(add_frames(fd, media, 0, frames), 0);
	return media;
}

static struct rtpe_player player_of(uint32_t media, uint32_t plays)
{
	struct rtpe_player player = {
		.source = address("127.0.0.1", 30002), .destination = address("127.0.0.1", 5000),
		.media = media, .plays = plays, .ssrc = SSRC, .timestamp = 0xffffff00, .sequence = 65534,
		.payload_type = 8, .tos = 0xb8, .flags = RTPE_PLAYER_MARKER,
	};

	return player;
}

static int start(int fd, struct rtpe_player *player)
{
	return command_read(fd, RTPE_START_PLAYER, player, sizeof(*player));
}

static struct rtpe_player_statistics ask(int fd, int command, uint32_t index, int err)
{
	struct rtpe_player_statistics s = { .index = index };

	CHECK_EQ(command_read(fd, command, &s, sizeof(s)), err);
	return s;
}

/* Packet number `i` of a player that was started with the numbers of player_of(). */
static void expect(int i, int frames)
{
	int n = receive(listener, got, sizeof(got), WAIT);

	CHECK(n == 172, "packet %d: %d octets", i, n);
	CHECK_EQ(got[1], i ? 8 : 0x88);
	CHECK_EQ(get16(got + 2), (uint16_t)(65534 + i));
	CHECK_EQ(get32(got + 4), (uint32_t)(0xffffff00 + 160 * i));
	CHECK_EQ(get32(got + 8), SSRC);
	CHECK(got[12] == i % frames && got[171] == i % frames, "packet %d: frame %d", i, got[12]);
}

static bool status_says(const char *line)
{
	char *status = read_file("/proc/rtpengine/0/status");
	bool says = strstr(status, line);

	free(status);
	return says;
}

static void on_time(void)
{
	struct rtpe_player player = player_of(media_of(control, 4), 3);
	struct rtpe_player_statistics s;
	double begin, at, worst = 0;
	int i, on = 1, tos = 0;
	struct sockaddr_storage from;
	struct cmsghdr *c;
	char space[64];
	struct iovec v = { got, sizeof(got) };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &v, .msg_iovlen = 1,
			    .msg_control = space, .msg_controllen = sizeof(space) };

	test_name = "on time";
	setsockopt(listener, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
	player.delay_ns = 30000000;
	begin = now_ms() + 30;
	CHECK_EQ(start(control, &player), 0);
	CHECK(status_says("Players:     1\n") && status_says("PStreams:    1\n"), "status");
	for (i = 0; i < 11; i++) {
		expect(i, 4);
		at = now_ms() - begin;
		CHECK(at >= 20 * i, "packet %d after %.3f ms", i, at);
		CHECK(at < 20 * i + LATE_MS, "packet %d after %.3f ms", i, at);
		worst = at - 20 * i > worst ? at - 20 * i : worst;
	}
	s = ask(control, RTPE_GET_PLAYER, player.index, 0);
	CHECK(!(s.flags & RTPE_PLAYER_ENDED), "ended too early");
	CHECK_EQ(s.frames, 11);
	CHECK(s.due_ns < 20000000, "%llu", (unsigned long long)s.due_ns);
	CHECK(recvmsg(listener, &m, 0) == 172, "the last one");
	CHECK(now_ms() - begin >= 220, "the last one");
	for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
			tos = *CMSG_DATA(c);
	CHECK_EQ(tos, 0xb8);
	CHECK_EQ(ntohs(((struct sockaddr_in *)&from)->sin_port), 30002);
	CHECK_EQ(receive(listener, got, sizeof(got), QUIET), -1);
	s = ask(control, RTPE_GET_PLAYER, player.index, 0);
	CHECK_EQ(s.flags, RTPE_PLAYER_ENDED);
	s = ask(control, RTPE_STOP_PLAYER, player.index, 0);
	CHECK_EQ(s.flags, RTPE_PLAYER_ENDED);
	CHECK_EQ(s.counters.packets, 12);
	CHECK_EQ(s.counters.bytes, 12 * 172);
	CHECK_EQ(s.clear_bytes, 12 * 172);
	CHECK_EQ(s.counters.errors, 0);
	CHECK_EQ(s.frames, 12);
	CHECK_EQ(s.sequence, (uint16_t)(65534 + 12));
	CHECK_EQ(s.timestamp, (uint32_t)(0xffffff00 + 160 * 12));
	ask(control, RTPE_STOP_PLAYER, player.index, -ENOENT);
	ask(control, RTPE_GET_PLAYER, player.index, -ENOENT);
	printf("players: at most %.1f ms late\n", worst);
}

/* Stopped and begun again with what was said: nothing is missing or twice. */
static void goes_on(void)
{
	struct rtpe_player player = player_of(media_of(control, 50), 0);
	struct rtpe_player_statistics s;
	int i, frames = 0;
	double begin;

	test_name = "goes on";
	begin = now_ms();
	CHECK_EQ(start(control, &player), 0);
	for (i = 0; i < 3; i++)
		expect(i, 50);
	while (i < 30) {
		s = ask(control, RTPE_STOP_PLAYER, player.index, 0);
		CHECK(!(s.flags & (RTPE_PLAYER_ENDED | RTPE_PLAYER_MARKER)), "flags %x", s.flags);
		frames += s.frames;
		player.first_frame = frames % 50;
		player.sequence = s.sequence;
		player.timestamp = s.timestamp;
		player.delay_ns = s.due_ns;
		player.flags = 0;
		CHECK_EQ(start(control, &player), 0);
		expect(i++, 50);
	}
	CHECK(now_ms() - begin >= 29 * 20, "too fast: %.3f", now_ms() - begin);
	s = ask(control, RTPE_STOP_PLAYER, player.index, 0);
	frames += s.frames;
	while (i < frames)
		expect(i++, 50);
	CHECK_EQ(receive(listener, got, sizeof(got), QUIET), -1);
}

static void limits(void)
{
	uint32_t media = media_of(control, 20), other = 0;
	struct rtpe_player player = player_of(media, 0);
	struct rtpe_media gone = { .index = media };
	int i;

	test_name = "limits";
	player.first_frame = 20;
	CHECK_EQ(start(control, &player), -ERANGE);
	player.media = 4711;
	CHECK_EQ(start(control, &player), -ENOENT);
	CHECK_EQ(add_frames(control, 4711, 0, 1), -ENOENT);
	CHECK_EQ(add_media(control, 0, &other), -EINVAL);
	CHECK_EQ(add_media(control, 8000, &other), 0);
	player = player_of(other, 0);
	CHECK_EQ(start(control, &player), -ERANGE);
	CHECK_EQ(write_file("/sys/module/xt_RTPENGINE/parameters/media_memory_limit", "1"), 0);
	for (i = 0; i < 64 && !add_frames(control, other, 0, 300); i++)
		;
	CHECK(i > 10 && i < 22, "%d times 50 kB in a megabyte", i);
	CHECK_EQ(add_frames(control, other, 0, 300), -ENOSPC);
	gone.index = other;
	CHECK_EQ(command_write(control, RTPE_DEL_MEDIA, &gone, sizeof(gone)), 0);
	CHECK_EQ(command_write(control, RTPE_DEL_MEDIA, &gone, sizeof(gone)), -ENOENT);
	CHECK_EQ(add_frames(control, media, 20, 30), 0);
	CHECK_EQ(write_file("/sys/module/xt_RTPENGINE/parameters/media_memory_limit", "256"), 0);

	/* The total time ends it in the middle; media that are deleted are played to the end. */
	player = player_of(media, 0);
	player.ticks = 8 * 160 - 1;
	CHECK_EQ(start(control, &player), 0);
	CHECK_EQ(add_frames(control, media, 50, 1), -EBUSY);
	gone.index = media;
	CHECK_EQ(command_write(control, RTPE_DEL_MEDIA, &gone, sizeof(gone)), 0);
	for (i = 0; i < 8; i++)
		expect(i, 50);
	CHECK_EQ(receive(listener, got, sizeof(got), QUIET), -1);
	CHECK_EQ(ask(control, RTPE_STOP_PLAYER, player.index, 0).flags, RTPE_PLAYER_ENDED);

	/* Nowhere to go: time goes on all the same. */
	player = player_of(media_of(control, 3), 1);
	player.source = address("192.0.2.77", 30002);
	CHECK_EQ(start(control, &player), 0);
	usleep(200000);
	CHECK_EQ(ask(control, RTPE_GET_PLAYER, player.index, 0).counters.errors, 3);
	CHECK_EQ(ask(control, RTPE_STOP_PLAYER, player.index, 0).sequence, 1);
}

static void other_family(void)
{
	struct rtpe_player player = player_of(media_of(control, 3), 1);
	int six = udp_socket("::1", 5000);

	test_name = "IPv6";
	player.source = address("::1", 30002);
	player.destination = address("::1", 5000);
	CHECK_EQ(start(control, &player), 0);
	CHECK_EQ(receive(six, got, sizeof(got), WAIT), 172);
	CHECK_EQ(get16(got + 2), 65534);
	ask(control, RTPE_STOP_PLAYER, player.index, 0);
	close(six);
}

/* What is protected under a key goes to a target that takes it off again. */
static void protected(const char *name, struct rtpe_crypto crypto)
{
	struct rtpe_target target = plain_target(address("127.0.0.1", 30000), RTPE_TARGET_RTP);
	struct rtpe_destination output = plain_output(target.local, address("127.0.0.1", 30004),
						      address("127.0.0.1", 5000));
	struct rtpe_player player = player_of(media_of(control, 6), 1);
	struct rtpe_player_statistics s;
	int i;

	test_name = name;
	for (i = 0; i < crypto.key_length; i++)
		crypto.key[i] = 3 * i;
	for (i = 0; i < crypto.salt_length; i++)
		crypto.salt[i] = 7 * i;
	target.ssrc[0].ssrc = SSRC;
	target.ssrc[0].flags = RTPE_SSRC_USED | RTPE_SSRC_RTP;
	target.ssrc[0].rtp_index = 5 * 65536ull + 65000;
	target.decrypt = crypto;
	add_target(&target);
	add_output(&output);
	player.destination = target.local;
	player.flags |= RTPE_PLAYER_INDEX;
	player.rtp_index = 5 * 65536ull + 65533;
	player.encrypt = crypto;
	CHECK_EQ(start(control, &player), 0);
	for (i = 0; i < 6; i++)
		expect(i, 6);
	s = ask(control, RTPE_STOP_PLAYER, player.index, 0);
	CHECK(s.flags & RTPE_PLAYER_INDEX, "no index");
	CHECK_EQ(s.rtp_index, 6 * 65536ull + 3);
	CHECK_EQ(s.counters.bytes, 6 * (172 + crypto.rtp_tag));
	CHECK_EQ(s.clear_bytes, 6 * 172);
	CHECK_EQ(delete_target(target.local, NULL), 0);
}

/* Whoever starts players in a table of its own, says so, and then waits. */
static int play_for_ever(int table, int ready)
{
	struct rtpe_init init;
	int fd = open_control(table), i;
	uint32_t media;

	CHECK_EQ(initialise(fd, RTPE_ABI_VERSION, &init), 0);
	media = media_of(fd, 10);
	for (i = 0; i < 20; i++) {
		struct rtpe_player player = player_of(media, 0);

		player.ssrc += i;
		CHECK_EQ(start(fd, &player), 0);
	}
	if (ready >= 0) {
		(void)!write(ready, "", 1);
		pause();
	}
	return fd;
}

static void drain(void)
{
	while (receive(listener, got, sizeof(got), 0) > 0)
		;
}

static void nobody_is_left(void)
{
	int ready[2], pid, fd;
	char c;

	test_name = "killed daemon";
	CHECK_EQ(main_control("add 5"), 0);
	CHECK(!pipe(ready), "pipe");
	pid = fork();
	if (!pid)
		_exit(play_for_ever(5, ready[1]));
	CHECK(read(ready[0], &c, 1) == 1, "not ready");
	CHECK_EQ(receive(listener, got, sizeof(got), WAIT), 172);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	drain();
	CHECK_EQ(receive(listener, got, sizeof(got), QUIET), -1);
	CHECK_EQ(main_control("del 5"), 0);

	test_name = "killed table";
	CHECK_EQ(main_control("add 5"), 0);
	fd = play_for_ever(5, -1);
	CHECK_EQ(receive(listener, got, sizeof(got), WAIT), 172);
	CHECK_EQ(main_control("del 5"), -EBUSY);
	CHECK_EQ(main_control("kill 5"), 0);
	drain();
	CHECK_EQ(receive(listener, got, sizeof(got), QUIET), -1);
	close(fd);
	close(ready[0]);
	close(ready[1]);
}

void test_players(void)
{
	listener = udp_socket("127.0.0.1", 5000);
	on_time();
	goes_on();
	limits();
	other_family();
	protected("AES-CM", (struct rtpe_crypto){ .cipher = RTPE_CIPHER_AES_CM, .hmac = 1, .rtp_tag = 10,
						  .rtcp_tag = 10, .key_length = 16, .salt_length = 14 });
	protected("GCM", (struct rtpe_crypto){ .cipher = RTPE_CIPHER_AES_GCM, .rtp_tag = 16, .rtcp_tag = 16,
					       .key_length = 32, .salt_length = 12 });
	nobody_is_left();
	close(listener);
}
