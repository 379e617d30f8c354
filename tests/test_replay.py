"""Replay and RawSocket.replay: datagrams from memory, under the rules of the real sockets."""

import array
import socket
import struct
import threading
import time

import pytest
from datagrams import icmp_echo, ipv4, mixed, of_length, udp, version_of

from winsockctl import (
    ControlCode,
    Direction,
    RawSocket,
    RcvAll,
    Replay,
    WinsockError,
    WinsockInterruptedError,
    set_rcvall,
)

WSAEINTR, WSAEINVAL, WSAENETDOWN, WSAENOTSOCK = 10004, 10022, 10050, 10038


def drain(raw: RawSocket) -> list[bytes]:
    seen = []
    while batch := raw.receive(0):
        seen += [bytes(view) for view in batch]
    return seen


def opened(datagrams, mode=RcvAll.ON, **options) -> RawSocket:
    raw = RawSocket.replay(datagrams, **options)
    raw.bind("replay")
    set_rcvall(raw, mode)
    return raw


def test_gives_every_datagram_in_order():
    expected = mixed(5000)
    with Replay(expected) as replay:
        assert [bytes(view) for view in replay] == expected


@pytest.mark.parametrize("batch_size", [1, 2, 7, 99, 100, 101, 65536])
def test_batch_size_is_the_most_that_a_batch_holds(batch_size):
    expected = mixed(100)
    with Replay(expected, batch_size=batch_size) as replay:
        sizes = [len(batch) for batch in replay.batches()]
    full, rest = divmod(100, batch_size)
    assert sizes == [batch_size] * full + [rest] * (rest > 0)


def test_default_batch_size_is_1024():
    with Replay(of_length(28) for _ in range(1500)) as replay:
        assert [len(batch) for batch in replay.batches()] == [1024, 476]


def test_takes_anything_bytes_like():
    data = of_length(48)
    items = [data, bytearray(data), memoryview(data), array.array("I", data)]
    with Replay(items) as replay:
        assert [bytes(view) for view in replay] == [data] * 4


def test_takes_any_iterable_and_a_generator_is_used_up_at_once():
    seen = []

    def generate():
        for index in range(5):
            seen.append(index)
            yield of_length(40, index=index)

    with Replay(generate()) as replay:
        assert seen == [0, 1, 2, 3, 4]
        assert [bytes(view) for view in replay] == [of_length(40, index=i) for i in range(5)]


def test_what_was_given_may_change_afterwards():
    data = bytearray(of_length(64))
    with Replay([data, memoryview(data)]) as replay:
        data[20:] = bytes(44)
        assert [bytes(view) for view in replay] == [of_length(64)] * 2


def test_an_iterable_that_raises_is_heard():
    def generate():
        yield of_length(28)
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        Replay(generate())


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ("text", TypeError),
        (7, TypeError),
        (None, TypeError),
        ((), (TypeError, ValueError)),
        ((of_length(28),), (TypeError, ValueError)),
        ((of_length(28), 1, 1, 28, 0, 0), (TypeError, ValueError)),
        ((of_length(28), "now"), TypeError),
        ((of_length(28), 1.5), TypeError),
        ((of_length(28), 2**63), (OverflowError, ValueError)),
        ((of_length(28), 1, 4), ValueError),
        ((of_length(28), 1, -1), (ValueError, OverflowError)),
        ((of_length(28), 1, 1, 27), ValueError),
        ((of_length(28), 1, 1, 2**32), (ValueError, OverflowError)),
        ((of_length(28), 1, 1, -1), (ValueError, OverflowError)),
        ((of_length(28), 1, 1, 28, 128), ValueError),
        ((of_length(28), 1, 1, 28, -1), (ValueError, OverflowError)),
        (memoryview(of_length(40))[::2], (BufferError, ValueError)),
    ],
)
def test_an_unacceptable_item_is_refused_at_once(item, error):
    with pytest.raises(error):
        Replay([of_length(28), item])


def test_what_is_not_iterable_is_refused():
    with pytest.raises(TypeError):
        Replay(7)


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"\x45",
        bytes(60),
        b"\x50" + bytes(59),
        b"\x00\x01\x08\x00\x06\x04\x00\x01" + bytes(20),
        of_length(28)[:19],
        udp(b"", source="::1", destination="::1")[:39],
    ],
    ids=["empty", "one byte", "zeros", "version 5", "ARP", "19 bytes", "39 bytes of IPv6"],
)
def test_r8_what_is_neither_ipv4_nor_ipv6_is_passed_over(other):
    with Replay([other, of_length(28), other, of_length(29), other]) as replay:
        assert [bytes(view) for view in replay] == [of_length(28), of_length(29)]
        assert replay.statistics.received == 2


def test_a_datagram_is_not_looked_into_beyond_its_first_nibble():
    strange = ipv4(b"", 253, options=b"\x94\x04\x00\x00")
    wrong_length = b"\x45\x00\xff\xff" + bytes(16)
    with Replay([strange, wrong_length]) as replay:
        assert [bytes(view) for view in replay] == [strange, wrong_length]


@pytest.mark.parametrize("snaplen", [1, 19, 20, 39, 40, 65535, 2**31 - 1])
def test_snaplen_keeps_that_much_of_each(snaplen):
    expected = mixed(60)
    with Replay(expected, snaplen=snaplen) as replay:
        records = list(replay.datagrams())
        statistics = replay.statistics
    assert [bytes(record.data) for record in records] == [data[:snaplen] for data in expected]
    assert [record.original_length for record in records] == [len(data) for data in expected]
    assert statistics.truncated == sum(len(data) > snaplen for data in expected)
    assert statistics.bytes == sum(min(len(data), snaplen) for data in expected)


@pytest.mark.parametrize(
    ("family", "version"), [(socket.AF_INET, 4), (socket.AF_INET6, 6)], ids=["IPv4", "IPv6"]
)
def test_r8_one_family_leaves_out_the_other(family, version):
    expected = mixed(60)
    with opened(expected, family=family) as raw:
        assert raw.family == family
        assert drain(raw) == version_of(expected, version)


def test_r3_an_unbound_socket_cannot_be_turned_on():
    with RawSocket.replay([of_length(28)]) as raw:
        with pytest.raises(WinsockError, match="bind") as error:
            set_rcvall(raw, RcvAll.ON)
        assert error.value.code == WSAEINVAL
        assert error.value.call == "WSAIoctl(SIO_RCVALL)"


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_r3_the_unspecified_address_is_refused(address):
    with RawSocket.replay([of_length(28)]) as raw:
        with pytest.raises(WinsockError) as error:
            raw.bind(address)
        assert error.value.code == WSAEINVAL
        assert error.value.call == "bind"


@pytest.mark.parametrize("mode", [4, 5, 2**31, 2**32 - 1])
def test_r1_another_value_is_refused(mode):
    with opened([of_length(28)], RcvAll.IPLEVEL) as raw:
        with pytest.raises(WinsockError) as error:
            raw.ioctl(ControlCode.SIO_RCVALL, struct.pack("=I", mode))
        assert error.value.code == WSAEINVAL
        assert raw.mode == RcvAll.IPLEVEL
        assert len(raw.receive(0)) == 1


@pytest.mark.parametrize("value", [b"", b"\1", b"\1\0\0"])
def test_r1_an_input_shorter_than_the_value_is_refused(value):
    with opened([of_length(28)], RcvAll.OFF) as raw:
        with pytest.raises(WinsockError) as error:
            raw.ioctl(ControlCode.SIO_RCVALL, value)
        assert error.value.code == WSAEINVAL
        assert raw.mode == RcvAll.OFF


def test_r4_r5_frames_for_other_stations_only_when_on():
    items = [(of_length(40, index=i), i, direction) for i, direction in enumerate(Direction)]
    everything = [item[0] for item in items]
    own = [item[0] for item in items if item[2] is not Direction.OTHER]
    with opened(items, RcvAll.ON) as raw:
        assert drain(raw) == everything
    with opened(items, RcvAll.IPLEVEL) as raw:
        assert drain(raw) == own


def test_r6_socketlevelonly_changes_nothing():
    with opened(mixed(10), RcvAll.IPLEVEL) as raw:
        set_rcvall(raw, RcvAll.SOCKETLEVELONLY)
        assert raw.mode == RcvAll.IPLEVEL
        assert drain(raw) == mixed(10)


def test_r7_off_receives_nothing():
    raw = RawSocket.replay(mixed(10), wait=True)
    raw.bind("replay")
    assert raw.mode == RcvAll.OFF
    assert len(raw.receive(0)) == 0
    set_rcvall(raw, RcvAll.OFF)
    assert len(raw.receive(0.02)) == 0
    raw.close()


def test_r7_turned_off_and_on_in_the_middle():
    with opened(mixed(30), batch_size=10) as raw:
        assert [bytes(view) for view in raw.receive(0)] == mixed(30)[:10]
        set_rcvall(raw, RcvAll.OFF)
        assert len(raw.receive(0)) == 0
        set_rcvall(raw, RcvAll.ON)
        assert set(drain(raw)) <= set(mixed(30)[10:])


def test_r13_no_move_while_on():
    with opened(mixed(10), RcvAll.IPLEVEL) as raw:
        with pytest.raises(WinsockError) as error:
            raw.bind("elsewhere")
        assert error.value.code == WSAEINVAL
        assert raw.mode == RcvAll.IPLEVEL
        assert drain(raw) == mixed(10)


def test_r13_moves_after_off():
    with opened(mixed(10)) as raw:
        set_rcvall(raw, RcvAll.OFF)
        raw.bind("elsewhere")
        set_rcvall(raw, RcvAll.ON)
        assert drain(raw) == mixed(10)


def test_the_end_is_an_empty_batch_and_ended():
    with opened(mixed(10)) as raw:
        assert not raw.ended
        assert len(raw.receive(None)) == 10
        assert len(raw.receive(None)) == 0
        assert raw.ended
        assert len(raw.receive(None)) == 0
        assert raw.ended
        assert not raw.closed


def test_waiting_replay_does_not_end():
    with opened(mixed(10), wait=True) as raw:
        assert len(raw.receive(None)) == 10
        started = time.perf_counter()  # the other clocks of Windows go by steps of 15.6 ms
        assert len(raw.receive(0.05)) == 0
        assert time.perf_counter() - started >= 0.03  # a wait may end within a tick
        assert not raw.ended


def test_r15_close_wakes_a_waiting_receive():
    raw = opened([], wait=True)
    caught = []

    def wait():
        try:
            raw.receive(60)
        except WinsockError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    raw.close()
    thread.join(10)
    assert not thread.is_alive()
    assert [error.code for error in caught] == [WSAEINTR]
    assert isinstance(caught[0], WinsockInterruptedError)


def test_r15_closed_twice_and_used_afterwards():
    raw = opened(mixed(10))
    raw.close()
    raw.close()
    assert raw.closed
    for call in (
        lambda: raw.receive(0),
        lambda: raw.bind("replay"),
        lambda: set_rcvall(raw, RcvAll.ON),
    ):
        with pytest.raises(WinsockError) as error:
            call()
        assert error.value.code == WSAENOTSOCK


@pytest.mark.parametrize("step", ["socket", "bind", "WSAIoctl"])
def test_a_fault_makes_that_call_fail(step):
    def run():
        raw = RawSocket.replay(mixed(10), faults={step: WSAENETDOWN})
        assert step != "socket"
        with raw:
            raw.bind("replay")
            assert step != "bind"
            set_rcvall(raw, RcvAll.ON)

    with pytest.raises(WinsockError) as error:
        run()
    assert error.value.code == WSAENETDOWN
    assert error.value.call.startswith(step)


@pytest.mark.parametrize("wait", [False, True])
def test_r14_a_fault_of_receive_comes_after_the_last_datagram_and_again(wait):
    with opened(mixed(10), batch_size=4, wait=wait, faults={"receive": WSAENETDOWN}) as raw:
        seen = []
        for _ in range(3):
            seen += [bytes(view) for view in raw.receive(1)]
        assert seen == mixed(10)
        for _ in range(3):
            with pytest.raises(WinsockError) as error:
                raw.receive(1)
            assert error.value.code == WSAENETDOWN
            assert error.value.call == "receive"


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ({"listen": 10022}, ValueError),
        ({7: 10022}, (TypeError, ValueError)),
        ({"bind": 0}, ValueError),
        ({"bind": -1}, ValueError),
        ({"bind": "WSAEINVAL"}, TypeError),
        ("bind", TypeError),
        (7, TypeError),
    ],
)
def test_unacceptable_faults_are_refused(faults, error):
    with pytest.raises(error):
        RawSocket.replay([], faults=faults)


def test_statistics_count_what_was_handed_over():
    expected = mixed(100)
    with Replay(expected, batch_size=30) as replay:
        assert replay.statistics.received == replay.statistics.bytes == 0
        replay.read(0)
        assert replay.statistics.received == 30
        for _ in replay:
            pass
        statistics = replay.statistics
    assert statistics.received == 100
    assert statistics.bytes == sum(map(len, expected))
    assert statistics.truncated == 0
    assert statistics.dropped in (0, None)
    assert replay.statistics == statistics


def test_names_its_backend():
    with Replay([icmp_echo()]) as replay:
        assert replay.backend == "replay"


def test_threads_share_a_replay_without_losing_or_doubling():
    expected = [of_length(40, index=i) for i in range(20000)]
    seen = []
    with opened(expected, batch_size=16) as raw:

        def work():
            mine = []
            while batch := raw.receive(0):
                mine += [bytes(view) for view in batch]
            seen.extend(mine)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(seen) == sorted(expected)
