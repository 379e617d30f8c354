"""wait() of a socket: whether receive() has something to tell, which stays where it is."""

import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from conftest import FailsWith, Tap
from datagrams import mixed, seeded_payload
from network import PATIENCE
from savefiles import pcap, pcap_record
from traffic import Loopback, index_of

from winsockctl import Filter, RawSocket, RcvAll, WinsockError, open_savefile, set_rcvall


def replay(datagrams: list[bytes], **options: object) -> RawSocket:
    raw = RawSocket.replay(datagrams, **options)
    raw.bind("replay")
    set_rcvall(raw, RcvAll.ON)
    return raw


def test_what_it_saw_is_received_next(tap: Tap) -> None:
    datagram = tap.datagram(b"waited for")
    with tap.capture([datagram] * 3) as raw:
        received: list[bytes] = []
        before = raw.statistics()
        assert raw.wait(PATIENCE)
        assert raw.wait(0)
        assert raw.wait()
        assert raw.statistics()[0] == before[0]
        while received.count(datagram) < 3:
            assert raw.wait(PATIENCE)
            batch = raw.receive(0)
            assert batch
            received += [bytes(view) for view in batch]
        assert raw.statistics()[0] == len(received)


def test_a_silence_is_told() -> None:
    with replay([], wait=True) as raw:
        assert not raw.wait(0)
        started = time.perf_counter()
        assert not raw.wait(0.03)
        assert time.perf_counter() - started >= 0.03


def test_the_end_is_something_to_tell() -> None:
    with replay(mixed(2)) as raw:
        assert len(raw.receive()) == 2
        assert raw.wait()
        assert len(raw.receive(0)) == 0
        assert raw.ended
        assert raw.wait()


def test_r14_a_failure_is_something_to_tell(fails_with: FailsWith) -> None:
    with replay(mixed(2), faults={"receive": 10050}) as raw:
        assert raw.wait()
        assert len(raw.receive()) == 2
        assert raw.wait()
        with fails_with("WSAENETDOWN", "receive"):
            raw.receive(0)


def test_a_receive_times_out_while_another_thread_waits() -> None:
    with replay([], wait=True) as raw, ThreadPoolExecutor(2) as executor:
        waiting = executor.submit(raw.wait)
        assert len(raw.receive(0.05)) == 0
        assert len(raw.receive(0)) == 0
        assert not waiting.done()
        raw.close()
        with pytest.raises(WinsockError, match="WSAEINTR"):
            waiting.result(PATIENCE)


def test_a_receive_gets_what_another_thread_waited_for(live_backend: str, loopback: object) -> None:
    with Loopback(live_backend) as lo, ThreadPoolExecutor(2) as executor:
        indexes = []
        for _ in range(10):
            waiting = executor.submit(lo.raw.wait, PATIENCE)
            receiving = executor.submit(lo.raw.receive, PATIENCE)
            lo.sender.send(seeded_payload(lo.sent, 100))
            lo.sent += 1
            indexes += [index_of(view) for view in lo.ours(receiving.result())]
            while len(indexes) < lo.sent:
                indexes += [index_of(view) for view in lo.ours(lo.raw.receive(PATIENCE))]
            if not waiting.done():  # the other was faster
                lo.sender.send(seeded_payload(lo.sent, 100))
                lo.sent += 1
            assert waiting.result()
        while len(indexes) < lo.sent:
            indexes += [index_of(view) for view in lo.ours(lo.raw.receive(PATIENCE))]
        assert indexes == list(range(lo.sent))


def test_a_filter_that_was_changed_meanwhile(tap: Tap) -> None:
    names = [b"even", b"odd!"]
    with tap.capture([tap.datagram(names[i % 2]) for i in range(10)]) as raw:
        assert raw.wait(PATIENCE)
        raw.set_filter(Filter(f"udp[8:4] = 0x{b'even'.hex()}").instructions)
        received: list[bytes] = []
        while batch := raw.receive(PATIENCE if len(received) < 5 else 0.05):
            received += [bytes(view[28:]) for view in batch]
        assert received == [b"even"] * 5
        assert raw.statistics()[0] == 5


def test_a_filter_of_a_savefile_that_was_changed_meanwhile() -> None:
    content = pcap(map(pcap_record, mixed(60)))
    for first, second in (("udp", "tcp"), ("udp", "udp and greater 100"), ("udp", "host 9.9.9.9")):
        with open_savefile(BytesIO(content), filter=first, batch_size=60) as savefile:
            socket = savefile._socket
            assert socket.wait()
            socket.set_filter(Filter(second).instructions)
            batch = socket.receive()
            both = open_savefile(BytesIO(content), filter=f"({first}) and ({second})")
            assert [bytes(view) for view in batch] == [bytes(view) for view in both]
            assert socket.statistics()[0] == len(batch)
            assert len(socket.receive()) == 0
            assert socket.ended


def test_r15_closed(fails_with: FailsWith) -> None:
    raw = replay(mixed(3))
    assert raw.wait()
    raw.close()
    with fails_with("WSAENOTSOCK", "receive"):
        raw.wait()
    with fails_with("WSAENOTSOCK", "receive"):
        raw.receive()


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", b"", 1j])
def test_a_time_that_is_no_wait_is_refused(timeout: float) -> None:
    with replay([], wait=True) as raw, pytest.raises((TypeError, ValueError)):
        raw.wait(timeout)
