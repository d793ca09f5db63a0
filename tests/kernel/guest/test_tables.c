// SPDX-License-Identifier: GPL-2.0-or-later
/* Tables: made, deleted, busy; versions; what may be said to whom. */
#include "rig.h"

static void test_main_control(void)
{
	static const struct {
		const char *text;
		int err;
	} cases[] = {
		{ "add 7", 0 }, { "add 7\n", -EEXIST }, { "add 64", -EINVAL }, { "add 63\n", 0 },
		{ "add -1", -EINVAL }, { "add x7", -EINVAL }, { "add 7x", -EINVAL }, { "add  7", -EINVAL },
		{ "add 4294967296", -EINVAL }, { "add", -EINVAL }, { "add 0000000000000001", 0 },
		{ "add 00000000000000001", -EINVAL }, { "sub 7", -EINVAL }, { "del 8", -ENOENT },
		{ "del 63", 0 }, { "del 1", 0 }, { "kill 9", -ENOENT }, { "", 0 },
	};
	size_t i;
	char *list;

	test_name = "main control";
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = main_control(cases[i].text);

		/* (an empty write does not reach the module, or is refused) */
		CHECK(err == cases[i].err || !cases[i].text[0], "'%s': %d, not %d", cases[i].text, err,
		      cases[i].err);
	}
	list = read_file("/proc/rtpengine/list");
	CHECK(!strcmp(list, "7\n"), "'%s'", list);
	free(list);
	CHECK_EQ(main_control("del 7"), 0);
}

static void test_versions(void)
{
	struct rtpe_init init;
	struct rtpe_statistics s = { .local = address("127.0.0.1", 1) };
	int fd, other;

	test_name = "versions";
	CHECK_EQ(main_control("add 5"), 0);
	fd = open_control(5);
	CHECK(fd >= 0);
	CHECK_EQ(command_read(fd, RTPE_GET_STATISTICS, &s, sizeof(s)), -EPROTO);
	CHECK_EQ(initialise(fd, RTPE_ABI_VERSION + 1, &init), 0);
	CHECK_EQ(init.module_abi, RTPE_ABI_VERSION);
	CHECK_EQ(command_read(fd, RTPE_GET_STATISTICS, &s, sizeof(s)), -EPROTO);
	CHECK_EQ(initialise(fd, RTPE_ABI_VERSION, &init), 0);
	CHECK_EQ(init.max_command, RTPE_STOP_PLAYER);
	CHECK_EQ(init.features, RTPE_FEATURE_SRTP | RTPE_FEATURE_F8 | RTPE_FEATURE_GCM |
		 RTPE_FEATURE_PLAYERS);
	CHECK_EQ(command_read(fd, RTPE_GET_STATISTICS, &s, sizeof(s)), -ENOENT);
	other = open_control(5);
	CHECK_EQ(initialise(other, RTPE_ABI_VERSION, &init), -EBUSY);
	CHECK_EQ(main_control("del 5"), -EBUSY);
	close(fd);
	CHECK_EQ(main_control("del 5"), -EBUSY);
	CHECK_EQ(initialise(other, RTPE_ABI_VERSION, &init), 0);
	close(other);
	CHECK_EQ(main_control("del 5"), 0);
}

static void test_kill(void)
{
	struct rtpe_init init;
	struct rtpe_target target = plain_target(address("127.0.0.1", 30100), RTPE_TARGET_RTP);
	int fd;

	test_name = "kill";
	CHECK_EQ(main_control("add 6"), 0);
	fd = open_control(6);
	CHECK_EQ(initialise(fd, RTPE_ABI_VERSION, &init), 0);
	CHECK_EQ(command_write(fd, RTPE_ADD_TARGET, &target, sizeof(target)), 0);
	CHECK_EQ(main_control("kill 6"), 0);
	CHECK(command_write(fd, RTPE_ADD_TARGET, &target, sizeof(target)) < 0);
	CHECK_EQ(main_control("add 6"), 0);
	close(fd);
	CHECK_EQ(main_control("del 6"), 0);
}

void test_tables(void)
{
	char *modes;

	test_main_control();
	test_versions();
	test_kill();
	test_name = "refused rmmod";
	CHECK_EQ(main_control("add 4"), 0);
	modes = read_file("/proc/rtpengine/4/status");
	CHECK(strstr(modes, "Refcount:    1\nOpencount:   0\nTargets:     0\n") == modes, "%s", modes);
	free(modes);
	CHECK(system("rmmod xt_RTPENGINE 2>/dev/null") != 0);
	CHECK_EQ(main_control("del 4"), 0);
}
