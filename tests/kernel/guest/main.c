// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * module-test tables | forward | srtp FILE | taps | players | hostile N | namespaces
 *           | relay | turns RELAY PORT N
 * Runs in the guest, with the module loaded and rules of table 0 in place.
 */
#include "rig.h"

static void open_table_0(void)
{
	struct rtpe_init init;

	CHECK_EQ(main_control("add 0"), 0);
	control = open_control(0);
	if (control < 0) {
		printf("there is no table 0\n");
		exit(1);
	}
	CHECK_EQ(initialise(control, RTPE_ABI_VERSION, &init), 0);
}

/* What a daemon leaves that dies: forwarding from a to b. */
static void relay(void)
{
	struct rtpe_target target = plain_target(address("10.0.1.1", 30000), RTPE_TARGET_RTP | RTPE_TARGET_RTP_ONLY |
			RTPE_TARGET_DTLS | RTPE_TARGET_STUN | RTPE_TARGET_PT_FILTER | RTPE_TARGET_RTP_STATS);
	struct rtpe_destination output = plain_output(target.local, address("10.0.2.1", 30002),
						      address("10.0.2.2", 5000));

	target.expected = address("10.0.1.2", 4000);
	target.mismatch = RTPE_MISMATCH_DROP;
	target.payloads = 1;
	target.payload[0].clock_rate = 8000;
	target.ssrc[0].ssrc = 0x1000;
	target.ssrc[0].flags = RTPE_SSRC_USED;
	add_target(&target);
	add_output(&output);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(what, "tables")) {
		test_tables();
	} else if (!strcmp(what, "turns") && argc > 4) {
		return measure_turns(argv[2], atoi(argv[3]), atoi(argv[4]));
	} else if (!strcmp(what, "relay")) {
		open_table_0();
		relay();
		close(control);
		return failures != 0;
	} else {
		open_table_0();
		if (!strcmp(what, "forward"))
			test_forward();
		else if (!strcmp(what, "srtp") && argc > 2)
			test_srtp(argv[2]);
		else if (!strcmp(what, "taps"))
			test_taps();
		else if (!strcmp(what, "players"))
			test_players();
		else if (!strcmp(what, "namespaces"))
			test_namespaces();
		else if (!strcmp(what, "hostile") && argc > 2)
			test_hostile(atoi(argv[2]));
		else
			CHECK(false, "what is '%s'", what);
		close(control);
		CHECK_EQ(main_control("del 0"), 0);
	}
	printf("%s: %s\n", what, failures ? "FAILED" : "ok");
	return failures != 0;
}
