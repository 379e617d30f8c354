"""A reader keeps its place: a read or a loop goes on where the last one ended, in every mixture."""

import random
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from datagrams import mixed, seeded_payload
from savefiles import pcap, pcap_record
from traffic import MIB, Loopback, index_of, is_intact

from winsockctl import Datagram, Reader, Replay, SavefileError, WinsockError, open_savefile

# Each takes about so many datagrams and leaves in the middle.
Way = Callable[[Reader, int], list[bytes]]


def loop(reader: Reader, count: int) -> list[bytes]:
    seen = []
    for view in reader:
        seen.append(bytes(view))
        if len(seen) == count:
            break
    return seen


def loop_over_datagrams(reader: Reader, count: int) -> list[bytes]:
    seen = []
    for datagram in reader.datagrams():
        seen.append(bytes(datagram.data))
        if len(seen) == count:
            break
    return seen


def loop_over_batches(reader: Reader, count: int) -> list[bytes]:
    seen: list[bytes] = []
    for batch in reader.batches():
        seen += [bytes(view) for view in batch]
        if len(seen) >= count:
            break
    return seen


def single_steps(reader: Reader, count: int) -> list[bytes]:
    return [bytes(view) for _ in range(count) for view in [next(iter(reader), None)] if view]


def loop_that_fails(reader: Reader, count: int) -> list[bytes]:
    seen = []
    try:
        for view in reader:
            seen.append(bytes(view))
            if len(seen) == count:
                raise LookupError
    except LookupError:
        pass
    return seen


def one_read(reader: Reader, count: int) -> list[bytes]:
    return [bytes(view) for view in reader.read()]


WAYS: list[Way] = [
    loop,
    loop_over_datagrams,
    loop_over_batches,
    single_steps,
    loop_that_fails,
    one_read,
]


@pytest.fixture(params=["replay", "savefile"])
def open_reader(request: pytest.FixtureRequest) -> Callable[[list[bytes], int], Reader]:
    def open_(datagrams: list[bytes], batch_size: int) -> Reader:
        if request.param == "replay":
            return Replay(datagrams, batch_size=batch_size)
        content = pcap(map(pcap_record, datagrams))
        return open_savefile(BytesIO(content), batch_size=batch_size)

    return open_


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_what_a_loop_left_is_what_the_next_begins_with(
    open_reader: Callable[[list[bytes], int], Reader], first: Way, second: Way
) -> None:
    expected = mixed(40)
    with open_reader(expected, 16) as reader:
        seen = first(reader, 5)
        assert seen == expected[: len(seen)]
        seen += second(reader, 3)
        assert seen == expected[: len(seen)]
        seen += [bytes(view) for view in reader]
        assert seen == expected
        assert reader.ended
        assert reader.statistics.received == 40


@pytest.mark.parametrize("seed", range(10))
def test_any_mixture_gives_each_datagram_once_and_in_order(
    open_reader: Callable[[list[bytes], int], Reader], seed: int
) -> None:
    choose = random.Random(seed)
    expected = mixed(300)
    with open_reader(expected, choose.choice([1, 7, 300])) as reader:
        seen: list[bytes] = []
        while taken := choose.choice(WAYS)(reader, choose.randrange(1, 12)):
            seen += taken
    assert seen == expected


def test_loops_inside_each_other_go_on_from_each_other() -> None:
    expected = mixed(60)
    seen = []
    with Replay(expected, batch_size=20) as replay:
        for view in replay:
            seen.append(bytes(view))
            for datagram in replay.datagrams():
                seen.append(bytes(datagram.data))
                break
            for view in replay:
                seen.append(bytes(view))
                break
    assert seen == expected


def test_iterators_that_take_turns_share_the_place() -> None:
    expected = mixed(50)
    with Replay(expected, batch_size=20) as replay:
        iterators: list[Iterator[memoryview | Datagram]] = [iter(replay), replay.datagrams()]
        seen = []
        for i in range(50):
            item = next(iterators[i % 2])
            seen.append(bytes(item.data if isinstance(item, Datagram) else item))
        assert [next(iterator, None) for iterator in iterators] == [None, None]
    assert seen == expected


def test_the_rest_of_a_batch_is_a_batch() -> None:
    stamped = [(datagram, 1000 + i) for i, datagram in enumerate(mixed(30))]
    with Replay(stamped, batch_size=30, snaplen=50) as replay:
        whole = replay.read()
    with Replay(stamped, batch_size=30, snaplen=50) as replay:
        loop(replay, 12)
        loop(replay, 1)
        rest = replay.read()
        assert [bytes(view) for view in rest] == [bytes(view) for view in whole[13:]]
        assert list(rest.timestamps_ns) == list(range(1013, 1030))
        assert list(rest.lengths) == list(whole.lengths)[13:]
        assert rest.records.tobytes() == whole.records[13:].tobytes()
        assert rest.buffer == whole.buffer
        assert [d.truncated for d in rest.datagrams()] == [
            d.truncated for d in list(whole.datagrams())[13:]
        ]
        assert bytes(rest[-1]) == bytes(whole[-1])
        assert f"{sum(rest.lengths)} bytes" in repr(rest)
        assert len(replay.read()) == 0


def test_an_iterator_of_a_batch_gives_its_rest_once() -> None:
    with Replay(mixed(10)) as replay:
        batch = replay.read()
    for count, left in ((0, 10), (4, 6), (10, 0)):
        iterator = iter(batch)
        for _ in range(count):
            next(iterator)
        rest = iterator.rest()
        assert [bytes(view) for view in rest] == mixed(10)[count:]
        assert len(rest) == left
        assert iterator.rest() is None
        assert iterator.__length_hint__() == 0
        assert list(iterator) == []


def test_many_rests_of_one_batch_do_not_pile_up() -> None:
    expected = mixed(1) * 50_000
    with Replay(expected, batch_size=50_000) as replay:
        first = next(iter(replay))
        taken = 1 + sum(len(single_steps(replay, 1)) for _ in range(49_999))
        assert taken == 50_000
        assert bytes(first) == expected[0]
        assert len(replay.read()) == 0


def test_a_loop_over_batches_that_was_left_keeps_none() -> None:
    with Replay(mixed(30), batch_size=10) as replay:
        for batch in replay.batches():
            reference = weakref.ref(batch)
            break
        del batch
        assert reference() is None


def test_r15_close_gives_up_what_a_loop_left(tmp_path: Path) -> None:
    path = tmp_path / "trace.pcap"
    path.write_bytes(pcap(map(pcap_record, mixed(30))))
    savefile = open_savefile(path)
    assert loop(savefile, 4) == mixed(30)[:4]
    savefile.close()
    with pytest.raises(WinsockError, match="WSAENOTSOCK"):
        savefile.read()
    assert list(savefile) == []
    if sys.platform == "linux":
        assert str(path) not in Path("/proc/self/maps").read_text()
    path.unlink()  # which Windows refuses for a file that is mapped


def test_r14_an_error_comes_behind_what_a_loop_left() -> None:
    content = pcap(map(pcap_record, mixed(10))) + bytes([255]) * 16
    with open_savefile(BytesIO(content)) as savefile:
        assert loop(savefile, 4) == mixed(10)[:4]
        assert [bytes(view) for view in savefile.read()] == mixed(10)[4:]
        with pytest.raises(SavefileError):
            savefile.read()


def test_threads_that_loop_over_one_reader_get_each_datagram_once() -> None:
    expected = [bytes(datagram) for datagram in mixed(5000)]
    seen: list[bytes] = []
    with Replay(expected, batch_size=64) as replay:

        def work(way: Way, choose: random.Random) -> None:
            while taken := way(replay, choose.randrange(1, 100)):
                seen.extend(taken)

        threads = [
            threading.Thread(target=work, args=(way, random.Random(i)))
            for i, way in enumerate(WAYS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(seen) == sorted(expected)


def test_a_loop_over_a_live_interface_is_left_and_taken_up_again(
    live_backend: str, loopback: object
) -> None:
    with Loopback(live_backend, buffer_size=8 * MIB) as lo:
        reader = Reader(lo.raw)
        seen: list[memoryview] = []
        for _ in range(20):
            sent = lo.sent
            for _ in range(40):
                lo.sender.send(seeded_payload(lo.sent, 200))
                lo.sent += 1
            while len(seen) < lo.sent:
                for view in reader:
                    if lo.is_ours(view):
                        seen.append(view)
                    if len(seen) == lo.sent or (len(seen) - sent) % 7 == 3:
                        break
        assert [index_of(view) for view in seen] == list(range(lo.sent))
        assert all(map(is_intact, seen))
