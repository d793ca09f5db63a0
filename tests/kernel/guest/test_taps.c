// SPDX-License-Identifier: GPL-2.0-or-later
/* Recording taps: names, packets, limits, ends. */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "rig.h"

#define BASE	"/proc/rtpengine/0/calls/"

static uint8_t packet[2048], got[4096];

static int add_call(const char *name, unsigned int *index)
{
	struct rtpe_call call = {};
	int err;

	snprintf(call.name, sizeof(call.name), "%s", name);
	err = command_read(control, RTPE_ADD_CALL, &call, sizeof(call));
	*index = call.index;
	return err;
}

static int add_stream(unsigned int call, const char *name, int max, int flags, unsigned int *index)
{
	struct rtpe_stream stream = { .call = call, .max_packets = max, .flags = flags };
	int err;

	snprintf(stream.name, sizeof(stream.name), "%s", name);
	err = command_read(control, RTPE_ADD_STREAM, &stream, sizeof(stream));
	*index = stream.index;
	return err;
}

static int del_stream(unsigned int index)
{
	struct rtpe_stream stream = { .index = index };

	return command_write(control, RTPE_DEL_STREAM, &stream, sizeof(stream));
}

static int del_call(unsigned int index)
{
	struct rtpe_call call = { .index = index };

	return command_write(control, RTPE_DEL_CALL, &call, sizeof(call));
}

static int push(unsigned int stream, const void *p, size_t n)
{
	uint8_t message[4096] = {};
	struct rtpe_packet *head = (struct rtpe_packet *)message;

	head->stream = stream;
	memcpy(head + 1, p, n);
	return command_write(control, RTPE_PACKET, message, sizeof(*head) + n);
}

static short events_of(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	return poll(&wait, 1, 0) == 1 ? wait.revents : 0;
}

static bool is_there(const char *path)
{
	struct stat s;

	return !stat(path, &s);
}

static void wait_until_gone(const char *path)
{
	int i;

	for (i = 0; i < 500 && is_there(path); i++)
		usleep(10000);
	CHECK(!is_there(path), "%s", path);
}

static void test_names(void)
{
	unsigned int call, other, stream;
	char longest[256];
	struct stat s;

	test_name = "names";
	memset(longest, 'x', 255);
	longest[255] = 0;
	CHECK_EQ(add_call("call-1", &call), 0);
	CHECK_EQ(add_call("call-1", &other), -EEXIST);
	CHECK_EQ(add_call("", &other), -EINVAL);
	CHECK_EQ(add_call("..", &other), -EINVAL);
	CHECK_EQ(add_call("a/b", &other), -EINVAL);
	CHECK_EQ(add_call(longest, &other), 0);
	CHECK_EQ(del_call(other), 0);
	CHECK_EQ(del_call(other), -ENOENT);
	CHECK_EQ(add_stream(call, "s", 0, 0, &stream), 0);
	CHECK_EQ(add_stream(call, "s", 0, 0, &other), -EEXIST);
	CHECK_EQ(add_stream(9999, "s", 0, 0, &other), -ENOENT);
	CHECK(!stat(BASE "call-1/s", &s) && (s.st_mode & 07777) == 0440, "%o", s.st_mode);
	CHECK_EQ(del_stream(stream), 0);
	CHECK_EQ(del_stream(stream), -ENOENT);
	CHECK(!is_there(BASE "call-1/s"), "file is left");
	CHECK_EQ(push(stream, "x", 1), -ENOENT);
	CHECK_EQ(add_stream(call, "s", 0, 0, &stream), 0);
	CHECK_EQ(del_call(call), 0);
	CHECK(!is_there(BASE "call-1"), "directory is left");
	CHECK_EQ(push(stream, "x", 1), -ENOENT);
}

static unsigned int sum16(const uint8_t *p, int n, unsigned int sum)
{
	int i;

	for (i = 0; i < n; i++)
		sum += i & 1 ? p[i] : p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void test_forwarded(void)
{
	struct rtpe_target target = plain_target(address("127.0.0.1", 30000),
						 RTPE_TARGET_RTP | RTPE_TARGET_INTERCEPT);
	struct rtpe_destination output = plain_output(target.local, address("127.0.0.1", 30002),
						      address("127.0.0.1", 5000));
	int party = udp_socket("127.0.0.1", 4000), to = udp_socket("127.0.0.1", 5000), fd, i, n;
	unsigned int call, stream, index;
	struct rtpe_stream get = {};

	test_name = "forwarded";
	CHECK_EQ(add_call("c", &call), 0);
	CHECK_EQ(add_stream(call, "plain", 0, 0, &stream), 0);
	target.stream = stream + 1000;
	CHECK_EQ(command_write(control, RTPE_ADD_TARGET, &target, sizeof(target)), -ENOENT);
	target.stream = stream;
	add_target(&target);
	add_output(&output);
	fd = open(BASE "c/plain", O_RDONLY | O_NONBLOCK);
	CHECK_EQ(read(fd, got, sizeof(got)), -1);
	CHECK_EQ(errno, EAGAIN);
	CHECK_EQ(events_of(fd), 0);
	for (i = 0; i < 20; i++) {
		n = make_rtp(packet, 0, i, 160 * i, 5, 100 + i);
		send_to(party, "127.0.0.1", 30000, packet, n);
		CHECK_EQ(receive(to, got, sizeof(got), 3000), n);
	}
	CHECK_EQ(events_of(fd), POLLIN);
	for (i = 0; i < 20; i++) {
		static const uint8_t ends[] = { 127, 0, 0, 1, 127, 0, 0, 1, 4000 >> 8, 4000 & 255, 30000 >> 8, 30000 & 255 };

		n = make_rtp(packet, 0, i, 160 * i, 5, 100 + i);
		/* a buffer that is too short loses the rest, not the next packet */
		if (i == 7) {
			CHECK_EQ(read(fd, got, 40), 40);
			continue;
		}
		CHECK_EQ(read(fd, got, sizeof(got)), n + 28);
		CHECK(got[0] == 0x45 && !memcmp(got + 12, ends, 12) && !memcmp(got + 28, packet, n), "packet %d", i);
		CHECK_EQ(sum16(got, 20, 0), 0xffff);
		CHECK_EQ(sum16(got + 20, n + 8, sum16(got + 12, 8, 17 + n + 8)), 0xffff);
	}
	CHECK_EQ(read(fd, got, sizeof(got)), -1);
	/* With the target still there: packets find no stream any more. */
	CHECK_EQ(del_stream(stream), 0);
	send_to(party, "127.0.0.1", 30000, packet, n);
	CHECK_EQ(receive(to, got, sizeof(got), 3000), n);
	CHECK_EQ(events_of(fd), POLLIN | POLLHUP);
	CHECK_EQ(read(fd, got, sizeof(got)), 0);
	CHECK_EQ(open(BASE "c/plain", O_RDONLY), -1);
	close(fd);
	wait_until_gone(BASE "c/plain");
	CHECK_EQ(delete_target(target.local, NULL), 0);
	CHECK_EQ(add_stream(call, "plain", 0, RTPE_STREAM_STAMP, &index), 0);
	fd = open(BASE "c/plain", O_RDONLY);
	CHECK_EQ(push(index, "Ethernet", 8), 0);
	get.index = index;
	CHECK_EQ(command_read(control, RTPE_GET_STREAM, &get, sizeof(get)), 0);
	CHECK(get.waiting == 1 && get.readers == 1 && get.dropped == 0, "%u %u", get.waiting, get.readers);
	CHECK_EQ(read(fd, got, sizeof(got)), 20);
	CHECK(!memcmp(got, "EthernetRTpT", 12) && got[12] == 0 && got[13] == 6, "no time of this century");
	close(fd);
	CHECK_EQ(del_call(call), 0);
	close(party);
	close(to);
}

static void test_limits(void)
{
	unsigned int call, stream;
	char *status;
	int fd, i;

	test_name = "limits";
	CHECK_EQ(add_call("c", &call), 0);
	CHECK_EQ(add_stream(call, "few", 3, 0, &stream), 0);
	for (i = 0; i < 10; i++) {
		packet[0] = i;
		CHECK_EQ(push(stream, packet, 100), 0);
	}
	status = read_file("/proc/rtpengine/0/status");
	CHECK(strstr(status, "Tap packets: 3\n") && strstr(status, "Tap dropped: 7\n"), "%s", status);
	free(status);
	fd = open(BASE "c/few", O_RDONLY | O_NONBLOCK);
	for (i = 7; i < 10; i++) {
		CHECK_EQ(read(fd, got, sizeof(got)), 100);
		CHECK_EQ(got[0], i);
	}
	CHECK_EQ(read(fd, got, sizeof(got)), -1);
	close(fd);
	CHECK_EQ(add_stream(call, "young", 0, 0, &stream), 0);
	CHECK_EQ(write_file("/sys/module/xt_RTPENGINE/parameters/stream_seconds_limit", "1"), 0);
	CHECK_EQ(push(stream, packet, 100), 0);
	usleep(1300000);
	CHECK_EQ(push(stream, packet, 101), 0);
	fd = open(BASE "c/young", O_RDONLY | O_NONBLOCK);
	CHECK_EQ(read(fd, got, sizeof(got)), 101);
	close(fd);
	CHECK_EQ(write_file("/sys/module/xt_RTPENGINE/parameters/stream_seconds_limit", "10"), 0);
	CHECK_EQ(del_call(call), 0);
}

/* A reader that waits is woken by a packet, and by the end. */
static void test_waiting(void)
{
	unsigned int call, stream;
	int status, pid;

	test_name = "waiting";
	CHECK_EQ(add_call("c", &call), 0);
	CHECK_EQ(add_stream(call, "s", 0, 0, &stream), 0);
	pid = fork();
	if (!pid) {
		int fd = open(BASE "c/s", O_RDONLY), n;

		alarm(20);
		n = read(fd, got, sizeof(got)) == 5;
		n += read(fd, got, sizeof(got)) == 7;
		n += read(fd, got, sizeof(got)) == 0;
		_exit(n);
	}
	usleep(200000);
	CHECK_EQ(push(stream, "12345", 5), 0);
	usleep(200000);
	CHECK_EQ(main_control("del 0"), -EBUSY);
	CHECK_EQ(push(stream, "1234567", 7), 0);
	CHECK_EQ(del_call(call), 0);
	waitpid(pid, &status, 0);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3, "status %x", status);
	wait_until_gone(BASE "c");
	/* The name is free again. */
	CHECK_EQ(add_call("c", &call), 0);
	CHECK_EQ(del_call(call), 0);
}

static void test_killed(void)
{
	struct rtpe_init init;
	unsigned int call, stream;
	int fd, pid, status, kept = control;

	test_name = "killed";
	CHECK_EQ(main_control("add 9"), 0);
	control = open_control(9);
	CHECK_EQ(initialise(control, RTPE_ABI_VERSION, &init), 0);
	CHECK_EQ(add_call("c", &call), 0);
	CHECK_EQ(add_stream(call, "s", 0, 0, &stream), 0);
	CHECK_EQ(add_stream(call, "t", 0, 0, &stream), 0);
	pid = fork();
	if (!pid) {
		/* a reader that waits must not keep the table from going */
		alarm(20);
		fd = open("/proc/rtpengine/9/calls/c/s", O_RDONLY);
		_exit(read(fd, got, sizeof(got)) <= 0 ? 0 : 1);
	}
	fd = open("/proc/rtpengine/9/calls/c/t", O_RDONLY);
	CHECK_EQ(push(stream, packet, 100), 0);
	CHECK_EQ(del_stream(stream), 0);
	usleep(200000);
	CHECK_EQ(main_control("kill 9"), 0);
	CHECK(!is_there("/proc/rtpengine/9"), "directory is left");
	waitpid(pid, &status, 0);
	CHECK_EQ(status, 0);
	CHECK(read(fd, got, sizeof(got)) <= 0, "something to read");
	close(fd);
	close(control);
	control = kept;
}

void test_taps(void)
{
	test_names();
	test_forwarded();
	test_limits();
	test_waiting();
	test_killed();
}
