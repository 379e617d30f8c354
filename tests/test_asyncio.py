"""Reading in coroutines: on every event loop, in every mixture with reading in threads.

Whatever is cancelled, by asyncio or by anyio, nothing is lost and nothing comes twice.
"""

import asyncio
import contextlib
import gc
import os
import random
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from io import BytesIO
from typing import Any

import anyio
import pytest
import test_place
from conftest import check_error
from datagrams import mixed, seeded_payload
from network import PATIENCE, eventually
from savefiles import pcap, pcap_record
from traffic import Loopback, index_of, is_intact

from winsockctl import (
    Batch,
    RawSocket,
    RcvAll,
    Reader,
    Replay,
    SavefileError,
    WinsockError,
    open_savefile,
    set_rcvall,
)

Main = Callable[[], Coroutine[Any, Any, None]]


def in_asyncio(loop_factory: Callable[[], asyncio.AbstractEventLoop], main: Main) -> None:
    with asyncio.Runner(debug=True, loop_factory=loop_factory) as runner:
        runner.run(main())


def in_selector_loop(main: Main) -> None:
    in_asyncio(asyncio.SelectorEventLoop, main)


def in_proactor_loop(main: Main) -> None:
    in_asyncio(asyncio.ProactorEventLoop, main)


RUNNERS = [in_selector_loop]
if sys.platform == "win32":
    RUNNERS.append(in_proactor_loop)


@pytest.fixture(params=RUNNERS)
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """Run a coroutine function in an event loop of its own."""
    runner: Callable[[Main], None] = request.param
    return runner


def threads() -> list[threading.Thread]:
    """The threads in which coroutines have something waited for."""
    return [thread for thread in threading.enumerate() if thread.name == "winsockctl wait"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert eventually(lambda: not threads())


def opened(datagrams: list[bytes], **options: object) -> Reader:
    raw = RawSocket.replay(datagrams, **options)
    raw.bind("replay")
    set_rcvall(raw, RcvAll.ON)
    return Reader(raw)


def as_bytes(batch: Batch) -> list[bytes]:
    return [bytes(view) for view in batch]


def file_of(datagrams: list[bytes], more: bytes = b"") -> BytesIO:
    return BytesIO(pcap(map(pcap_record, datagrams)) + more)


# Each takes about so many datagrams and leaves in the middle.


async def loop(reader: Reader, count: int) -> list[bytes]:
    seen = []
    async for view in reader:
        seen.append(bytes(view))
        if len(seen) == count:
            break
    return seen


async def loop_over_datagrams(reader: Reader, count: int) -> list[bytes]:
    seen = []
    async for datagram in reader.datagrams():
        seen.append(bytes(datagram.data))
        if len(seen) == count:
            break
    return seen


async def loop_over_batches(reader: Reader, count: int) -> list[bytes]:
    seen: list[bytes] = []
    async for batch in reader.batches():
        seen += as_bytes(batch)
        if len(seen) >= count:
            break
    return seen


async def one_read(reader: Reader, count: int) -> list[bytes]:
    return as_bytes(await reader.read_async())


async def cancelled_read(reader: Reader, count: int) -> list[bytes]:
    task = asyncio.create_task(reader.read_async())
    for _ in range(count % 4):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return as_bytes(await task)
    return await one_read(reader, count)


async def in_the_meantime(reader: Reader, count: int) -> list[bytes]:
    return await asyncio.to_thread(test_place.loop, reader, count)


AsyncWay = Callable[[Reader, int], Awaitable[list[bytes]]]
WAYS: list[AsyncWay] = [
    loop,
    loop_over_datagrams,
    loop_over_batches,
    one_read,
    cancelled_read,
    in_the_meantime,
]


@pytest.fixture(params=["replay", "savefile"])
def open_reader(request: pytest.FixtureRequest) -> Callable[[list[bytes], int], Reader]:
    def open_(datagrams: list[bytes], batch_size: int) -> Reader:
        if request.param == "replay":
            return Replay(datagrams, batch_size=batch_size)
        return open_savefile(file_of(datagrams), batch_size=batch_size)

    return open_


OpenReader = Callable[[list[bytes], int], Reader]
Run = Callable[[Main], None]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch_size", [9, 100])
def test_every_way_gives_the_same(
    run: Run, open_reader: OpenReader, way: AsyncWay, batch_size: int
) -> None:
    expected = mixed(100)

    async def main() -> None:
        with open_reader(expected, batch_size) as reader:
            seen: list[bytes] = []
            while taken := await way(reader, 100):
                seen += taken
            assert seen == expected
            assert reader.ended
            assert reader.statistics.received == 100
            assert len(await reader.read_async()) == 0

    run(main)


@pytest.mark.parametrize("seed", range(4))
def test_any_mixture_gives_each_datagram_once_and_in_order(
    run: Run, open_reader: OpenReader, seed: int
) -> None:
    expected = mixed(150)

    async def main() -> None:
        choose = random.Random(seed)
        with open_reader(expected, choose.choice([3, 9, 150])) as reader:
            seen: list[bytes] = []
            while True:
                count = choose.randrange(1, 12)
                if choose.random() < 0.3:
                    taken = choose.choice(test_place.WAYS)(reader, count)
                else:
                    taken = await choose.choice(WAYS)(reader, count)
                if not taken:
                    break
                seen += taken
            assert seen == expected

    run(main)


def test_the_iterators_are_for_both_kinds_of_loop(run: Run) -> None:
    expected = mixed(30)

    async def main() -> None:
        with Replay(expected, batch_size=8) as replay:
            batches, datagrams, views = replay.batches(), replay.datagrams(), aiter(replay)
            seen = as_bytes(next(batches)) + as_bytes(await anext(batches))
            seen.append(bytes(next(datagrams).data))
            seen.append(bytes((await anext(datagrams)).data))
            seen.append(bytes(await anext(views)))
            seen.append(bytes(next(datagrams).data))
            seen += [bytes(datagram.data) async for datagram in datagrams]
            assert seen == expected
            for iterator in (batches, datagrams, views):
                assert await anext(iterator, None) is None
            assert next(batches, None) is next(datagrams, None) is None

    run(main)


def test_a_silence_gives_an_empty_batch_and_ends_an_iteration(run: Run) -> None:
    async def main() -> None:
        with Replay(mixed(10), wait=True) as replay:
            assert len(await replay.read_async(0)) == 10
            started = time.perf_counter()
            assert len(await replay.read_async(0.05)) == 0
            assert time.perf_counter() - started >= 0.05
            assert len(await replay.read_async(0)) == 0
            assert [batch async for batch in replay.batches(0.02)] == []
            assert [datagram async for datagram in replay.datagrams(timeout=0)] == []
            assert not replay.ended

    run(main)


@pytest.mark.parametrize("timeout", [-0.001, float("-inf"), float("nan"), "1", [], 1j])
def test_a_time_that_is_no_wait_is_refused(run: Run, timeout: Any) -> None:
    async def main() -> None:
        with Replay(mixed(1), wait=True) as replay:
            with pytest.raises((TypeError, ValueError)):
                await replay.read_async(timeout)
            assert len(await replay.read_async()) == 1

    run(main)


@pytest.mark.parametrize("timeout", [10**8, 10**12, 1e300, float("inf"), None])
def test_a_very_long_wait_is_a_wait(run: Run, timeout: float | None) -> None:
    async def main() -> None:
        with Replay([], wait=True) as replay:
            reading = asyncio.create_task(replay.read_async(timeout))
            await asyncio.sleep(0.05)
            assert not reading.done()
            replay.close()
            with pytest.raises(WinsockError):
                await reading

    run(main)


def test_a_source_that_is_never_idle_leaves_the_loop_to_others(run: Run) -> None:
    async def main() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        with Replay(mixed(200), batch_size=1) as replay:
            counting = asyncio.create_task(count())
            async for _ in replay:
                pass
            counting.cancel()
        assert turns >= 200

    run(main)


# Closing


@pytest.mark.parametrize("way", ["iter", "batches", "datagrams"])
@pytest.mark.parametrize("in_thread", [False, True])
def test_r15_close_from_elsewhere_ends_an_iteration_in_silence(
    run: Run, way: str, in_thread: bool
) -> None:
    async def main() -> None:
        with Replay(mixed(10), wait=True) as replay:
            iterate = aiter(replay) if way == "iter" else getattr(replay, way)()

            async def close() -> None:
                await asyncio.sleep(0.05)
                await asyncio.to_thread(replay.close) if in_thread else replay.close()

            closing = asyncio.create_task(close())
            items = [item async for item in iterate]
            await closing
            assert sum(len(item) if way == "batches" else 1 for item in items) == 10
            assert await anext(iterate, None) is None

    run(main)


def test_r15_close_wakes_every_coroutine_that_waits(run: Run) -> None:
    async def main() -> None:
        replay = Replay([], wait=True)
        readings = [asyncio.create_task(replay.read_async()) for _ in range(3)]
        await asyncio.sleep(0.05)
        replay.close()
        for error in await asyncio.gather(*readings, return_exceptions=True):
            assert isinstance(error, WinsockError)
            check_error(error, "WSAEINTR", "receive")
        with pytest.raises(WinsockError) as caught:
            await replay.read_async()
        check_error(caught.value, "WSAENOTSOCK", "receive")
        assert [view async for view in replay] == []

    run(main)


def test_r15_close_in_the_loop_ends_it(run: Run) -> None:
    async def main() -> None:
        seen = []
        with Replay(mixed(100), batch_size=10) as replay:
            async for view in replay:
                seen.append(bytes(view))
                replay.close()
        assert seen == mixed(100)[:10]

    run(main)


# Failures


@pytest.mark.parametrize("way", WAYS)
def test_r14_an_error_comes_behind_the_last_datagram(run: Run, way: AsyncWay) -> None:
    async def main() -> None:
        seen: list[bytes] = []
        with opened(mixed(10), faults={"receive": 10050}) as reader:
            while len(seen) < 10:
                seen += await way(reader, 5)
            for _ in range(2):
                with pytest.raises(WinsockError) as caught:
                    await way(reader, 5)
                check_error(caught.value, "WSAENETDOWN", "receive")
            assert seen == mixed(10)

    run(main)


@pytest.mark.parametrize("way", WAYS)
def test_damage_comes_behind_the_last_datagram(run: Run, way: AsyncWay) -> None:
    async def main() -> None:
        seen: list[bytes] = []
        with open_savefile(file_of(mixed(10), bytes([255]) * 16), batch_size=5) as savefile:
            while len(seen) < 10:
                seen += await way(savefile, 5)
            for _ in range(2):
                with pytest.raises(SavefileError):
                    await way(savefile, 5)
            assert seen == mixed(10)

    run(main)


class Unreliable:
    """A file that fails once behind its content, when it is told to."""

    def __init__(self, content: bytes) -> None:
        self._file = BytesIO(content)
        self._errors = [TimeoutError(110, "the server does not answer")]
        self.is_asked, self.may_fail = threading.Event(), threading.Event()

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        if not piece and self._errors:
            self.is_asked.set()
            assert self.may_fail.wait(PATIENCE)
            raise self._errors.pop()
        return piece


@pytest.mark.parametrize("is_async", [False, True])
def test_a_failure_that_comes_once_outlives_the_read_that_was_cancelled(
    run: Run, is_async: bool
) -> None:
    async def main() -> None:
        file = Unreliable(file_of(mixed(3)).getvalue())
        with open_savefile(file) as savefile:
            assert len(await savefile.read_async()) == 3
            task = asyncio.create_task(savefile.read_async())
            await asyncio.to_thread(file.is_asked.wait, PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            file.may_fail.set()
            with pytest.raises(TimeoutError, match="does not answer"):
                _ = await savefile.read_async() if is_async else savefile.read()
            assert len(await savefile.read_async()) == 0
            assert savefile.ended

    run(main)


def test_a_file_is_never_read_by_the_thread_of_the_loop(run: Run) -> None:
    readers: list[int] = []

    class Watched(BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            readers.append(threading.get_ident())
            return super().read1(size)

    async def main() -> None:
        with open_savefile(Watched(file_of(mixed(300)).getvalue()), batch_size=10) as savefile:
            readers.clear()  # opening reads what comes before the first packet
            assert len([view async for view in savefile]) == 300
        assert readers
        assert threading.get_ident() not in readers

    run(main)


def test_a_pipe_that_is_silent_does_not_hold_up_the_loop(run: Run) -> None:
    content = file_of(mixed(5)).getvalue()
    end = len(file_of([]).getvalue()) + 20  # in the middle of the first packet

    async def main() -> None:
        reading, writing = os.pipe()
        with open(reading, "rb", buffering=0) as pipe, open(writing, "wb", buffering=0) as writer:
            writer.write(content[:end])
            with open_savefile(pipe) as savefile:
                assert len(await savefile.read_async(0.05)) == 0
                assert len(await savefile.read_async(0)) == 0
                assert not savefile.ended
                writer.write(content[end:])
                writer.close()
                assert [bytes(view) async for view in savefile] == mixed(5)
                assert savefile.ended

    run(main)


# Cancelling


@pytest.mark.parametrize("is_async", [False, True])
def test_what_comes_after_a_cancelled_read_is_in_the_next_one(
    run: Run, live_backend: str, loopback: object, is_async: bool
) -> None:
    async def main() -> None:
        with Loopback(live_backend) as lo:
            reader = Reader(lo.raw)
            seen: list[memoryview] = []
            for _ in range(20):
                task = asyncio.create_task(reader.read_async())
                await asyncio.sleep(0.005)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    seen += lo.ours(await task)
                for _ in range(3):
                    lo.sender.send(seeded_payload(lo.sent, 100))
                    lo.sent += 1
                while len(seen) < lo.sent:
                    batch = await reader.read_async(PATIENCE) if is_async else reader.read(PATIENCE)
                    assert batch
                    seen += lo.ours(batch)
            assert [index_of(view) for view in seen] == list(range(60))
            assert all(map(is_intact, seen))

    run(main)


@pytest.mark.parametrize("seed", range(3))
def test_reads_cancelled_at_any_time_lose_nothing_of_live_traffic(
    run: Run, live_backend: str, loopback: object, seed: int
) -> None:
    count = 200

    async def main() -> None:
        choose = random.Random(seed)
        with Loopback(live_backend, buffer_size=8 * 2**20) as lo:
            reader = Reader(lo.raw)

            async def send() -> None:
                while lo.sent < count:
                    lo.sender.send(seeded_payload(lo.sent, 100))
                    lo.sent += 1
                    if choose.random() < 0.2:
                        await asyncio.sleep(choose.random() / 200)

            sending = asyncio.create_task(send())
            seen: list[int] = []
            deadline = time.monotonic() + 3 * PATIENCE
            while len(seen) < count:
                assert time.monotonic() < deadline, f"{len(seen)} of {count} came"
                with anyio.move_on_after(choose.random() / 200):
                    seen += map(index_of, lo.ours(await reader.read_async()))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(choose.random() / 200):
                        async for view in reader:
                            if lo.is_ours(view):
                                seen.append(index_of(view))
                if choose.random() < 0.2:
                    seen += map(index_of, lo.ours(reader.read(0)))
                seen += map(index_of, lo.ours(await reader.read_async(choose.random() / 500)))
            await sending
            assert seen == list(range(count))
            assert lo.raw.statistics()[1] in (0, None)

    run(main)


def test_a_cancelled_task_group_loses_nothing(run: Run) -> None:
    expected = mixed(100)

    async def main() -> None:
        seen: list[bytes] = []
        with Replay(expected, batch_size=10, wait=True) as replay:

            async def work() -> None:
                async for view in replay:
                    seen.append(bytes(view))
                    await anyio.lowlevel.checkpoint()

            while len(seen) < 100:
                async with anyio.create_task_group() as group:
                    for _ in range(3):
                        group.start_soon(work)
                    for _ in range(random.Random(len(seen)).randrange(12)):
                        await anyio.lowlevel.checkpoint()
                    group.cancel_scope.cancel()
        assert sorted(seen) == sorted(expected)

    run(main)


def test_cancelled_reads_share_one_thread_until_the_reader_is_closed(run: Run) -> None:
    async def main() -> None:
        with Replay([], wait=True) as replay:
            for _ in range(30):
                assert len(await replay.read_async(0.001)) == 0
                with anyio.move_on_after(0.001):
                    await replay.read_async()
            assert len(threads()) == 1
        assert eventually(lambda: not threads())

    run(main)


def test_a_reader_that_is_dropped_ends_its_thread(run: Run) -> None:
    readers = [Replay([], wait=True)]

    async def main() -> None:
        assert len(await readers[0].read_async(0.2)) == 0

    run(main)
    assert len(threads()) == 1
    reference = weakref.ref(readers.pop())
    gc.collect()
    assert reference() is None
    assert eventually(lambda: not threads())


def test_a_loop_that_ended_leaves_the_reader_to_the_next(run: Run, live_backend: str) -> None:
    with Loopback(live_backend) as lo:
        reader = Reader(lo.raw)
        seen: list[int] = []

        async def wait_in_vain() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    async for view in reader:
                        if lo.is_ours(view):
                            seen.append(index_of(view))

        async def read() -> None:
            while len(seen) < lo.sent:
                seen.extend(map(index_of, lo.ours(await reader.read_async(PATIENCE))))

        for _ in range(3):
            run(wait_in_vain)
            lo.sender.send(seeded_payload(lo.sent, 50))
            lo.sent += 1
            run(read)
        assert seen == [0, 1, 2]


# Together


def test_coroutines_that_read_one_reader_get_each_datagram_once(
    run: Run, open_reader: OpenReader
) -> None:
    expected = mixed(150)

    async def main() -> None:
        seen: list[bytes] = []

        async def work(way: AsyncWay) -> None:
            while taken := await way(reader, 5):
                seen.extend(taken)

        with open_reader(expected, 7) as reader:
            await asyncio.gather(*map(work, WAYS * 2))
        assert sorted(seen) == sorted(expected)

    run(main)


def test_loops_of_several_threads_read_one_reader(run: Run, live_backend: str) -> None:
    count = 300
    with Loopback(live_backend, buffer_size=8 * 2**20) as lo:
        reader = Reader(lo.raw)
        seen: list[int] = []

        async def main() -> None:
            async for view in reader:
                if lo.is_ours(view):
                    seen.append(index_of(view))

        def read() -> None:
            seen.extend(index_of(view) for view in reader if lo.is_ours(view))

        workers = [threading.Thread(target=run, args=(main,)) for _ in range(2)]
        workers.append(threading.Thread(target=read))
        for worker in workers:
            worker.start()
        for _ in range(count):
            lo.sender.send(seeded_payload(lo.sent, 50))
            lo.sent += 1
        assert eventually(lambda: len(seen) == count)
        reader.close()
        for worker in workers:
            worker.join()
        assert sorted(seen) == list(range(count))


def test_the_ring_wraps_while_a_loop_that_was_left_keeps_its_place(
    run: Run, live_backend: str, loopback: object
) -> None:
    async def main() -> None:
        with Loopback(live_backend) as lo:
            reader = Reader(lo.raw)
            seen: list[memoryview] = []
            while lo.sent < 150:
                for _ in range(3):
                    lo.sender.send(seeded_payload(lo.sent, 60_000))
                    lo.sent += 1
                while len(seen) < lo.sent - 1:  # the last one stays
                    async for view in reader:
                        if lo.is_ours(view):
                            seen.append(view)
                        break
            assert [index_of(view) for view in seen] == list(range(149))
            assert all(map(is_intact, seen))

    run(main)
