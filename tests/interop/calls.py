"""Calls through Kamailio and the relay: hold, fork, change of endpoint. Exit status 1 with what failed."""

import sys
import traceback

from phones import Callee, Caller, Media, endpoint

RELAY = "127.0.0.1"


def check(condition, what):
    if not condition:
        raise AssertionError(what)
    print(f"  - {what}")


def both_ways(one, to_one, other, to_other, what):
    """`one` and `other` send to where they were told to; each must hear the other, and nobody else."""
    one.received(), other.received()
    one.send(to_one)
    other.send(to_other)
    # What is sent while an endpoint is still being learned may be lost.
    heard_by_one, heard_by_other = one.received(), other.received()
    check(set(heard_by_one) == {other.mark} and heard_by_one[other.mark] > 15, f"{what}: caller hears {heard_by_one}")
    check(set(heard_by_other) == {one.mark} and heard_by_other[one.mark] > 15, f"{what}: callee hears {heard_by_other}")


def hold(caller, phone1, _phone2):
    """re-INVITE to hold and back."""
    media = Media("127.0.0.11", 1)
    caller.new_dialogue("phone1")
    answer = caller.invite(media.sdp(1))
    check(endpoint(answer)[0] == RELAY and endpoint(phone1.offers[-1])[0] == RELAY, "both are told the relay's address")
    both_ways(media, endpoint(answer), phone1.media, endpoint(phone1.offers[-1]), "call")
    before = endpoint(phone1.offers[-1])
    answer = caller.invite(media.sdp(2, "sendonly"))
    check("a=sendonly" in phone1.offers[-1] and "a=recvonly" in answer, "hold: sendonly one way, recvonly back")
    check(endpoint(phone1.offers[-1]) == before, "hold: the ports stay")
    media.received(), phone1.media.received()
    phone1.media.send(before)
    check(not media.received(), "hold: the holder hears nothing")
    answer = caller.invite(media.sdp(3))
    check("a=sendrecv" in phone1.offers[-1] and "a=sendrecv" in answer, "un-hold: sendrecv both ways")
    both_ways(media, endpoint(answer), phone1.media, endpoint(phone1.offers[-1]), "after hold")
    caller.bye()


def fork(caller, phone1, phone2):
    """Two branches with early media each; the second one picks up."""
    media = Media("127.0.0.11", 2)
    phone1.early = phone2.early = True
    caller.new_dialogue("fork")
    import threading
    threading.Timer(1.0, phone2.pick_up.set).start()
    answer = caller.invite(media.sdp(1))
    check(len(caller.early) == 2, f"early answers of two branches ({len(caller.early)})")
    offers = [endpoint(phone.offers[-1]) for phone in (phone1, phone2)]
    check(offers[0] != offers[1], f"each branch has ports of its own: {offers}")
    check(phone1.cancelled.wait(5), "the other branch is cancelled")
    both_ways(media, endpoint(answer), phone2.media, offers[1], "fork")
    caller.bye()
    phone1.early = phone2.early = False


def change_of_endpoint(caller, phone1, _phone2):
    """The caller goes on at another address, as after a transfer."""
    old, new = Media("127.0.0.11", 3), Media("127.0.0.14", 4)
    caller.new_dialogue("phone1")
    answer = caller.invite(old.sdp(1))
    both_ways(old, endpoint(answer), phone1.media, endpoint(phone1.offers[-1]), "before")
    answer = caller.invite(new.sdp(2))
    both_ways(new, endpoint(answer), phone1.media, endpoint(phone1.offers[-1]), "at the new address")
    check(not old.received(), "the old address hears nothing")
    caller.bye()


def main():
    caller = Caller("caller", "127.0.0.11")
    phones = [Callee(f"phone{i}", f"127.0.0.1{i + 1}", Media(f"127.0.0.1{i + 1}", 10 + i)) for i in (1, 2)]
    for phone in phones:
        phone.start()
    failed = 0
    for case in (hold, fork, change_of_endpoint):
        print(f"{case.__name__}: {case.__doc__}")
        try:
            case(caller, *phones)
        except Exception:
            traceback.print_exc(file=sys.stdout)
            failed += 1
    print("PASS" if not failed else f"FAIL: {failed}")
    sys.exit(failed != 0)


main()
