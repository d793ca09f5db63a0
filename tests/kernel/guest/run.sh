# Runs in the guest, by dash, in the folder with module-test, srtp-vectors.txt and the plugin. The module is loaded.
# HOSTILE: control writes, packets and reads of the hostile test, each.
failed=0
check() { # what it says, then a command that has to succeed
    what=$1
    shift
    if "$@"; then echo "$what: ok"; else echo "$what: FAILED"; failed=1; fi
}
refused() { ! "$@" >/dev/null 2>&1; }
run() { check "$1" ./module-test "$@"; }
# What is about time: an emulated machine may stall.
run_timed() { ./module-test "$@" || { echo "$1: once more"; run "$@"; }; }

mkdir -p /usr/lib/x86_64-linux-gnu/xtables
cp libxt_RTPENGINE.so /usr/lib/x86_64-linux-gnu/xtables/

# ---- the plugin, with each kind of iptables ----
plugin() {
    ipt=$1 ok=0
    $ipt -A INPUT -p udp --dport 4000 -j RTPENGINE --id 7 || ok=1
    $ipt -S INPUT | grep -q -- '-A INPUT -p udp .*--dport 4000 -j RTPENGINE --id 7$' || ok=1
    $ipt -L INPUT -n | grep -q 'RTPENGINE id:7' || ok=1
    $ipt -j RTPENGINE --help 2>&1 | grep -q -- '--id N' || ok=1
    refused $ipt -A INPUT -p udp -j RTPENGINE || ok=1
    refused $ipt -A INPUT -p udp -j RTPENGINE --id 64 || ok=1
    refused $ipt -A INPUT -p udp -j RTPENGINE --id x || ok=1
    refused $ipt -A OUTPUT -p udp -j RTPENGINE --id 1 || ok=1
    refused $ipt -D INPUT -p udp --dport 4000 -j RTPENGINE --id 8 || ok=1
    refused rmmod xt_RTPENGINE || ok=1
    $ipt -D INPUT -p udp --dport 4000 -j RTPENGINE --id 7 || ok=1
    return $ok
}
for ipt in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do check "plugin, $ipt" plugin $ipt; done
saved() { iptables-nft-save | grep -q -- '-j RTPENGINE --id 9' && iptables-nft-save >/tmp/rules && iptables-nft-restore </tmp/rules; }
iptables-nft -A INPUT -p udp -j RTPENGINE --id 9
check "save and restore" saved
iptables-nft -D INPUT -p udp -j RTPENGINE --id 9

# ---- packets ----
iptables-$KIND -N rtpengine
iptables-$KIND -A rtpengine -p udp -j RTPENGINE --id 0
iptables-$KIND -A INPUT -p udp -j rtpengine
ip6tables-$KIND -I INPUT -p udp -j RTPENGINE --id 0
run tables
run forward
run srtp srtp-vectors.txt
run taps
run_timed players

for n in a b; do
    ip netns add $n
    ip link add r$n type veth peer name $n netns $n
    ip link set dev r$n up
    ip -n $n link set dev $n up
done
ip addr add 10.0.1.1/24 dev ra
ip addr add 10.0.2.1/24 dev rb
ip -n a addr add 10.0.1.2/24 dev a
ip -n b addr add 10.0.2.2/24 dev b
ip -n a route add default via 10.0.1.1
ip -n b route add default via 10.0.2.1
run namespaces

# ---- a daemon that is gone: media go on until somebody says otherwise ----
run relay
check "forwarding goes on" ./module-test turns 10.0.1.1 30000 50
check "the targets are still listed" grep -q '^local inet4 10.0.1.1:30000$' /proc/rtpengine/0/list
check "the next daemon deletes the table" sh -c 'echo del 0 >/proc/rtpengine/control'
check "nothing is forwarded any more" refused ./module-test turns 10.0.1.1 30000 1

# ---- anything from anybody; then nothing may be left of it ----
memory() { awk '/^SUnreclaim/ { print $2 }' /proc/meminfo; }
./module-test hostile 4000 >/dev/null
echo 3 >/proc/sys/vm/drop_caches
m=$(memory)
run hostile ${HOSTILE:-100000}
sleep 1
echo 3 >/proc/sys/vm/drop_caches
grown=$(($(memory) - m))
echo "kernel memory grew by $grown kB"
check "nothing leaks" test $grown -lt 1000
check "no table is left" test -z "$(cat /proc/rtpengine/list)"

# ---- going away ----
ip link del ra
ip link del rb
ip netns del a
ip netns del b
refused rmmod xt_RTPENGINE || { echo "rmmod while there are rules: FAILED"; failed=1; }
iptables-$KIND -F
iptables-$KIND -X
ip6tables-$KIND -F
check rmmod rmmod xt_RTPENGINE
check "nothing is left in /proc" test ! -e /proc/rtpengine
exit $failed
