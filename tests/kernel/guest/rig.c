// SPDX-License-Identifier: GPL-2.0-or-later
#include "rig.h"

int failures;
int control = -1;
const char *test_name = "";

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

int main_control(const char *text)
{
	return write_file("/proc/rtpengine/control", text);
}

char *read_file(const char *path)
{
	size_t n = 0, room = 1 << 20;
	char *text = calloc(1, room);
	int fd = open(path, O_RDONLY);
	ssize_t got;

	while (fd >= 0 && n + 1 < room && (got = read(fd, text + n, room - n - 1)) > 0)
		n += got;
	if (fd >= 0)
		close(fd);
	return text;
}

int open_control(int table)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/rtpengine/%d/control", table);
	return open(path, O_RDWR);
}

static void fill_header(struct rtpe_header *header, int command, size_t n)
{
	header->magic = RTPE_ABI_MAGIC;
	header->version = RTPE_ABI_VERSION;
	header->command = command;
	header->length = n;
	header->reserved = 0;
}

int command_write(int fd, int command, void *message, size_t n)
{
	fill_header(message, command, n);
	return write(fd, message, n) == (ssize_t)n ? 0 : -errno;
}

int command_read(int fd, int command, void *message, size_t n)
{
	fill_header(message, command, n);
	return read(fd, message, n) == (ssize_t)n ? 0 : -errno;
}

int initialise(int fd, int version, struct rtpe_init *reply)
{
	memset(reply, 0, sizeof(*reply));
	fill_header(&reply->header, RTPE_INIT, sizeof(*reply));
	reply->header.version = version;
	return read(fd, reply, sizeof(*reply)) == sizeof(*reply) ? 0 : -errno;
}

struct rtpe_address address(const char *ip, int port)
{
	struct rtpe_address a = { .port = port };

	a.family = strchr(ip, ':') ? 6 : 4;
	inet_pton(a.family == 4 ? AF_INET : AF_INET6, ip, a.ip);
	return a;
}

struct rtpe_target plain_target(struct rtpe_address local, unsigned int flags)
{
	struct rtpe_target target = { .local = local, .flags = flags, .outputs = 1 };

	return target;
}

struct rtpe_destination plain_output(struct rtpe_address local, struct rtpe_address source,
				     struct rtpe_address destination)
{
	struct rtpe_destination output = {
		.local = local, .source = source, .destination = destination,
	};

	return output;
}

void add_target(struct rtpe_target *target)
{
	CHECK_EQ(command_write(control, RTPE_ADD_TARGET, target, sizeof(*target)), 0);
}

void add_output(struct rtpe_destination *output)
{
	CHECK_EQ(command_write(control, RTPE_ADD_DESTINATION, output, sizeof(*output)), 0);
}

int delete_target(struct rtpe_address local, struct rtpe_statistics *statistics)
{
	struct rtpe_statistics s = { .local = local };
	int err = command_read(control, RTPE_DEL_TARGET, &s, sizeof(s));

	if (statistics)
		*statistics = s;
	return err;
}

struct rtpe_statistics statistics_of(struct rtpe_address local)
{
	struct rtpe_statistics s = { .local = local };

	CHECK_EQ(command_read(control, RTPE_GET_STATISTICS, &s, sizeof(s)), 0);
	return s;
}

static socklen_t socket_address(const char *ip, int port, struct sockaddr_storage *to)
{
	memset(to, 0, sizeof(*to));
	if (strchr(ip, ':')) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		inet_pton(AF_INET6, ip, &in6->sin6_addr);
		return sizeof(*in6);
	}
	struct sockaddr_in *in = (struct sockaddr_in *)to;

	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	inet_pton(AF_INET, ip, &in->sin_addr);
	return sizeof(*in);
}

int udp_socket(const char *ip, int port)
{
	struct sockaddr_storage to;
	socklen_t n = socket_address(ip, port, &to);
	int fd = socket(to.ss_family, SOCK_DGRAM, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&to, n)) {
		printf("cannot bind %s:%d: %s\n", ip, port, strerror(errno));
		exit(1);
	}
	return fd;
}

void send_to(int fd, const char *ip, int port, const void *p, size_t n)
{
	struct sockaddr_storage to;
	socklen_t to_n = socket_address(ip, port, &to);

	if (sendto(fd, p, n, 0, (struct sockaddr *)&to, to_n) < 0)
		CHECK(false, "sendto: %s", strerror(errno));
}

int receive_from(int fd, void *p, size_t n, int ms, struct sockaddr_storage *from)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	socklen_t from_n = sizeof(*from);

	if (poll(&wait, 1, ms) != 1)
		return -1;
	return recvfrom(fd, p, n, 0, (struct sockaddr *)from, &from_n);
}

int receive(int fd, void *p, size_t n, int ms)
{
	struct sockaddr_storage from;

	return receive_from(fd, p, n, ms, &from);
}

void put32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, 4);
}

uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return ntohl(v);
}

uint16_t get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

int make_rtp(uint8_t *p, int payload_type, int sequence, uint32_t timestamp, uint32_t ssrc, int payload)
{
	int i;

	p[0] = 0x80;
	p[1] = payload_type;
	p[2] = sequence >> 8;
	p[3] = sequence;
	put32(p + 4, timestamp);
	put32(p + 8, ssrc);
	for (i = 0; i < payload; i++)
		p[12 + i] = sequence + i;
	return 12 + payload;
}
