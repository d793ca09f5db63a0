/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests in the guest share: the control file, sockets, checks. */
#ifndef RIG_H
#define RIG_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../kernel-module/rtpengine_abi.h"

extern int failures;
extern const char *test_name;

#define CHECK(condition, ...) do { \
	if (!(condition)) { \
		failures++; \
		printf("FAIL %s:%d (%s) %s: ", __FILE__, __LINE__, test_name, #condition); \
		printf(" " __VA_ARGS__); \
		printf("\n"); \
	} \
} while (0)

#define CHECK_EQ(a, b) do { \
	long long a_ = (long long)(a), b_ = (long long)(b); \
	CHECK(a_ == b_, "%lld, not %lld", a_, b_); \
} while (0)

/* The main control file: 0 or -errno. */
int main_control(const char *text);
int write_file(const char *path, const char *text);
/* The whole file, to be freed. */
char *read_file(const char *path);

/* Table 0 with INIT done. */
extern int control;
int open_control(int table);
int initialise(int fd, int version, struct rtpe_init *reply);
/* -errno or 0; the header is filled in. */
int command_write(int fd, int command, void *message, size_t n);
int command_read(int fd, int command, void *message, size_t n);

struct rtpe_address address(const char *ip, int port);
/* A target with one announced output and the flags; and that output. */
struct rtpe_target plain_target(struct rtpe_address local, unsigned int flags);
struct rtpe_destination plain_output(struct rtpe_address local, struct rtpe_address source,
				     struct rtpe_address destination);
void add_target(struct rtpe_target *target);
void add_output(struct rtpe_destination *output);
int delete_target(struct rtpe_address local, struct rtpe_statistics *statistics);
struct rtpe_statistics statistics_of(struct rtpe_address local);

int udp_socket(const char *ip, int port);
void send_to(int fd, const char *ip, int port, const void *p, size_t n);
/* Octets, or -1 if nothing comes within the time. */
int receive(int fd, void *p, size_t n, int ms);
int receive_from(int fd, void *p, size_t n, int ms, struct sockaddr_storage *from);

/* An RTP packet; its length. */
int make_rtp(uint8_t *p, int payload_type, int sequence, uint32_t timestamp, uint32_t ssrc, int payload);
void put32(uint8_t *p, uint32_t v);
uint32_t get32(const uint8_t *p);
uint16_t get16(const uint8_t *p);

/* Tests, each in a file of its own. */
void test_tables(void);
void test_forward(void);
void test_srtp(const char *vectors);
void test_taps(void);
void test_players(void);
void test_hostile(int rounds);
void test_namespaces(void);
int measure_turns(const char *relay_ip, int relay_port, int count);

#endif
