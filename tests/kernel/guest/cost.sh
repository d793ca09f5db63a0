# Runs in the guest: WAY is routed, ours (the module), user, ebpf (our daemon RELAY) or reference. 10.0.1.2 (a) sends, 10.0.2.2 (b) receives, the relay is between them.
set -e
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
case $WAY in
    routed)
        echo 1 >/proc/sys/net/ipv4/ip_forward
        ./module-test turns 10.0.2.2 5000 300
        exit
        ;;
    ours) table=0 ;;
    reference) table=42 ;;
    user | ebpf) table= ;;
esac
call() { # until it has learned where they are, and the stream has moved down
    port=$(python3 cost_call.py) || { cat /tmp/log; exit 1; }
    ./module-test turns 10.0.1.1 $port 50
    sleep 8
}
if [ -z "$table" ]; then
    offload=none
    [ $WAY = user ] || offload="ebpf --no-fallback"
    "$RELAY" --config-file=none --foreground --log-stderr --log-level=4 --offload=$offload --interface=a/10.0.1.1 --interface=b/10.0.2.1 \
        --listen-ng=127.0.0.1:2223 --port-min=30000 --port-max=30100 2>/tmp/log &
    export RELAY_PID=$!
    call
    ./module-test turns 10.0.1.1 $port 300
    # (the reference has none of these words)
    where=$(python3 cost_call.py off-load)
    echo "off-load: $where"
    [ $WAY = user ] || [ "$where" = eBPF ] || exit 1
    exit
fi
export XTABLES_LIBDIR=/test/plugins:/usr/lib/x86_64-linux-gnu/xtables
iptables-nft -I INPUT -p udp -j RTPENGINE --id $table
port=30000
if [ $WAY = ours ]; then
    ./module-test relay
else
    rtpengine --foreground --log-stderr --log-level=4 --table=42 --interface=a/10.0.1.1 --interface=b/10.0.2.1 \
        --listen-ng=127.0.0.1:2223 --port-min=30000 --port-max=30100 --pidfile=/tmp/rtpengine.pid 2>/tmp/log &
    export RELAY_PID=$!
    call
fi
./module-test turns 10.0.1.1 $port 300
