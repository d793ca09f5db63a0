# Runs in the guest on the host's files: TESTS are end-to-end tests (executables), with the module below each relay that they start; EBPF_TESTS choose
# eBPF themselves.
ip link set dev lo up
iptables-nft -I INPUT -p udp -j RTPENGINE --id 0 || exit 1
ip6tables-nft -I INPUT -p udp -j RTPENGINE --id 0 || exit 1
export RTPENGINE_E2E_OFFLOAD=module
failed=0
for test in $TESTS; do
    "$test" --test-threads=1 --color=never >/tmp/log 2>&1 || { failed=1; cat /tmp/log; }
    echo "$(basename "$test"): $(grep '^test result' /tmp/log)"
done
# eBPF between hosts, VLANs included. (Programs of its own: the module is not used.)
for test in $EBPF_TESTS; do
    "$test" --test-threads=1 --color=never --nocapture between_hosts >/tmp/log 2>&1 && ! grep -q SKIPPED /tmp/log || { failed=1; cat /tmp/log; }
    echo "$(basename "$test"): $(grep '^test result' /tmp/log)"
done
# (the tests kill their daemons: the last one's table is left, and must go when it is told to)
test -z "$(cat /proc/rtpengine/list)" || echo "del 0" >/proc/rtpengine/control || failed=1
exit $failed
