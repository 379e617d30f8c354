"""Reader: batches, datagrams and views; how an iteration ends; close() and signals."""

import collections
import contextlib
import gc
import itertools
import signal
import threading
import time
import weakref

import pytest
from datagrams import mixed, of_length
from receiving import send_signal

from winsockctl import (
    RawSocket,
    RcvAll,
    Reader,
    Replay,
    Statistics,
    WinsockError,
    WinsockInterruptedError,
    set_rcvall,
)

WSAEINTR, WSAENETDOWN, WSAENOTSOCK = 10004, 10050, 10038


def reader_of(datagrams, **options) -> Reader:
    raw = RawSocket.replay(datagrams, **options)
    raw.bind("replay")
    set_rcvall(raw, RcvAll.ON)
    return Reader(raw)


@contextlib.contextmanager
def signal_soon(handler, number=None):
    """Have a signal come to the main thread while it waits."""
    number = number or getattr(signal, "SIGUSR1", signal.SIGTERM)
    before = signal.signal(number, handler)
    timer = threading.Timer(0.1, send_signal, (number,))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(number, before)


# What each way to read gives, as views.
WAYS = {
    "read": lambda reader: (view for batch in iter(reader.read, None) for view in batch),
    "iter": iter,
    "batches": lambda reader: (view for batch in reader.batches() for view in batch),
    "datagrams": lambda reader: (datagram.data for datagram in reader.datagrams()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch_size", [1, 70, 300, 1024])
def test_the_ways_to_read_give_the_same(way, batch_size):
    expected = mixed(300)
    with Replay(expected, batch_size=batch_size) as replay:
        views = list(itertools.islice(WAYS[way](replay), 300))
        assert [bytes(view) for view in views] == expected
        assert replay.statistics == Statistics(
            300, 0, 0, sum(map(len, expected)), replay.buffer_size
        )
        assert len(replay.read()) == 0
        assert replay.ended


def test_the_ways_to_read_can_be_mixed():
    expected = mixed(90)
    with Replay(expected, batch_size=10) as replay:
        seen = [bytes(view) for view in replay.read()]
        seen += [bytes(view) for view in next(replay.batches())]
        datagrams = replay.datagrams()
        seen += [bytes(next(datagrams).data) for _ in range(10)]
        seen += [bytes(view) for view in replay]
    assert seen == expected


def test_an_iteration_ends_after_a_silence():
    with Replay(mixed(10), wait=True) as replay:
        assert sum(len(batch) for batch in replay.batches(timeout=0.02)) == 10
        assert list(replay.datagrams(timeout=0.02)) == []
        assert not replay.ended
        assert not replay.closed


def test_read_gives_an_empty_batch_after_a_silence():
    with Replay([], wait=True) as replay:
        started = time.perf_counter()  # the other clocks of Windows go by steps of 15.6 ms
        assert len(replay.read(0.03)) == 0
        assert time.perf_counter() - started >= 0.02  # a wait may end within a tick
        assert len(replay.read(0)) == 0


@pytest.mark.parametrize("timeout", [-0.001, -1, float("-inf"), float("nan")])
def test_a_time_that_is_no_wait_is_refused(timeout):
    with Replay([], wait=True) as replay, pytest.raises((ValueError, OverflowError)):
        replay.read(timeout)


@pytest.mark.parametrize("timeout", ["1", b"", [], 1j])
def test_a_time_of_the_wrong_type_is_refused(timeout):
    with Replay([], wait=True) as replay, pytest.raises(TypeError):
        replay.read(timeout)


@pytest.mark.parametrize("timeout", [10**8, 10**12, 1e300, float("inf"), None])
def test_a_very_long_wait_is_a_wait(timeout):
    with Replay(mixed(5), wait=True) as replay:
        assert len(replay.read(timeout)) == 5
        threading.Timer(0.1, replay.close).start()
        with pytest.raises(WinsockInterruptedError):
            replay.read(timeout)


@pytest.mark.parametrize("way", ["iter", "batches", "datagrams"])
def test_r15_close_from_another_thread_ends_an_iteration_in_silence(way):
    with Replay(mixed(10), wait=True) as replay:
        iterate = iter(replay) if way == "iter" else getattr(replay, way)()
        threading.Timer(0.1, replay.close).start()
        count = sum(len(item) if way == "batches" else 1 for item in iterate)
        assert count == 10
        assert replay.closed


def test_r15_close_in_the_loop_ends_it():
    with Replay(mixed(100), batch_size=10) as replay:
        seen = []
        for view in replay:
            seen.append(bytes(view))
            replay.close()
        # What was already handed over belongs to the program; nothing more comes.
        assert seen == mixed(100)[:10]


def test_r15_close_wakes_every_waiting_thread():
    replay = Replay([], wait=True)
    codes = []

    def wait():
        try:
            replay.read()
        except WinsockError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(0.05)
    assert all(thread.is_alive() for thread in threads)
    replay.close()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert codes == [WSAEINTR] * 3


def test_r15_three_threads_close_at_once():
    for _ in range(100):
        replay = Replay(mixed(3), wait=True)
        barrier = threading.Barrier(4)
        errors = []

        def close(replay=replay, barrier=barrier, errors=errors):
            barrier.wait()
            try:
                replay.close()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=close) for _ in range(3)]
        for thread in threads:
            thread.start()
        barrier.wait()
        with contextlib.suppress(WinsockError):
            while True:
                replay.read(5)
        for thread in threads:
            thread.join()
        assert errors == []
        assert replay.closed


def test_r15_closed_reader_raises_and_its_iterations_are_empty():
    replay = Replay(mixed(10))
    replay.close()
    replay.close()
    with pytest.raises(WinsockError) as error:
        replay.read()
    assert error.value.code == WSAENOTSOCK
    assert list(replay) == list(replay.batches()) == list(replay.datagrams()) == []


def test_what_can_still_be_asked_after_close():
    with Replay(mixed(10), batch_size=4) as replay:
        replay.read()
        before = (replay.statistics, replay.backend, replay.buffer_size)
    assert replay.closed
    assert (replay.statistics, replay.backend, replay.buffer_size) == before
    assert replay.statistics.received == 4


@pytest.mark.parametrize("way", WAYS)
def test_r14_an_error_is_raised_through_every_way_to_read(way):
    with reader_of(mixed(10), faults={"receive": WSAENETDOWN}) as reader:
        with pytest.raises(WinsockError) as error:
            collections.deque(WAYS[way](reader), maxlen=0)
        assert error.value.code == WSAENETDOWN
        assert reader.statistics.received == 10


def test_the_context_manager_closes_whatever_happens():
    with pytest.raises(LookupError), Replay(mixed(3)) as replay:
        raise LookupError
    assert replay.closed
    with Replay(mixed(3)) as replay:
        assert isinstance(replay, Reader)
        assert not replay.closed
    assert replay.closed


def test_statistics_is_a_frozen_record_that_never_shrinks():
    with Replay(mixed(100), batch_size=9) as replay:
        last = replay.statistics
        assert last == Statistics(
            received=0,
            dropped=last.dropped,
            truncated=0,
            bytes=0,
            buffer_size=replay.buffer_size,
        )
        for batch in replay.batches():
            now = replay.statistics
            assert now.received == last.received + len(batch)
            assert now.bytes == last.bytes + sum(batch.lengths)
            last = now
    with pytest.raises(AttributeError):
        last.received = 0


def test_ctrl_c_ends_a_wait_at_once():
    with Replay([], wait=True) as replay:
        with (
            signal_soon(signal.default_int_handler, signal.SIGINT),
            pytest.raises(KeyboardInterrupt),
        ):
            replay.read()
        # The reader is as good as before.
        assert len(replay.read(0)) == 0
        assert not replay.closed


def test_a_signal_whose_handler_returns_does_not_end_a_wait():
    calls = []
    with Replay([], wait=True) as replay, signal_soon(lambda *_: calls.append(1)):
        started = time.monotonic()
        assert len(replay.read(0.3)) == 0
        assert time.monotonic() - started > 0.2
    assert calls == [1]


def test_a_signal_handler_may_close_the_reader():
    with Replay(mixed(5), wait=True) as replay, signal_soon(lambda *_: replay.close()):
        assert len(list(replay)) == 5
    assert replay.closed


def test_other_threads_run_during_a_wait():
    counted = []
    with Replay([], wait=True) as replay:
        stop = threading.Event()

        def count():
            while not stop.wait(0.001):
                counted.append(1)

        thread = threading.Thread(target=count)
        thread.start()
        replay.read(0.3)
        stop.set()
        thread.join()
    assert len(counted) > 10


def test_a_reader_that_is_dropped_closes_its_socket():
    raw = RawSocket.replay(mixed(5))
    raw.bind("replay")
    reader = Reader(raw)
    reference = weakref.ref(reader)
    del reader
    gc.collect()
    assert reference() is None
    # The socket was lent, and it is still in use here.
    assert not raw.closed
    raw.close()


def test_reader_in_a_reference_cycle_is_collected():
    replay = Replay([of_length(28)])
    replay.myself = replay
    reference = weakref.ref(replay)
    del replay
    gc.collect()
    assert reference() is None
