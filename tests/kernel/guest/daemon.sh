# Runs in the guest on the host's files: TESTS are end-to-end tests (executables), with the module below each relay that they start; EBPF_TESTS choose
# eBPF themselves; of them those with EBPF in their names are run.
ip link set dev lo up
iptables-nft -I INPUT -p udp -j RTPENGINE --id 0 || exit 1
ip6tables-nft -I INPUT -p udp -j RTPENGINE --id 0 || exit 1
export RTPENGINE_E2E_OFFLOAD=module
failed=0
# An emulated machine may stall for longer than calls in real time can bear: what fails has a second try, and that is told.
attempt() { "$@" --test-threads=1 --color=never >/tmp/log 2>&1; }
for test in $TESTS; do
    if ! attempt "$test"; then
        cat /tmp/log
        again=$(sed -n 's/^test \([a-z0-9_:]*\) \.\.\. FAILED$/\1/p' /tmp/log)
        echo "$(basename "$test"): FLAKY, once more: $again"
        # Without names it has not come to its end; all of it, then.
        attempt "$test" ${again:+--exact} $again || { failed=1; cat /tmp/log; }
    fi
    echo "$(basename "$test"): $(grep '^test result' /tmp/log)"
done
# (In network namespaces of their own, where no rule leads to the module.)
for test in $EBPF_TESTS; do
    if ! attempt "$test" --nocapture $EBPF; then
        echo "$(basename "$test"): FLAKY, once more"
        attempt "$test" --nocapture $EBPF || { failed=1; cat /tmp/log; }
    fi
    ! grep SKIPPED /tmp/log || failed=1
    echo "$(basename "$test"): $(grep '^test result' /tmp/log)"
done
# (the tests kill their daemons: the last one's table is left, and must go when it is told to)
test -z "$(cat /proc/rtpengine/list)" || echo "del 0" >/proc/rtpengine/control || failed=1
exit $failed
