# Runs in the guest on the host's files: TESTS are end-to-end tests (executables), with the module below each relay that they start.
ip link set dev lo up
iptables-nft -I INPUT -p udp -j RTPENGINE --id 0 || exit 1
ip6tables-nft -I INPUT -p udp -j RTPENGINE --id 0 || exit 1
export RTPENGINE_E2E_OFFLOAD=module
failed=0
for test in $TESTS; do
    "$test" --test-threads=1 --color=never >/tmp/log 2>&1 || { failed=1; cat /tmp/log; }
    echo "$(basename "$test"): $(grep '^test result' /tmp/log)"
done
test -z "$(cat /proc/rtpengine/list)" || { echo "a table is left"; failed=1; }
exit $failed
