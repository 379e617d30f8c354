"""Views are safe for ever, and a program that keeps them neither stalls nor loses anything."""

import collections
import gc
import random
import socket
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import memory
import numpy
import pytest
from conftest import LIVE_BACKENDS
from datagrams import mixed, of_length, seeded_payload
from traffic import HEADERS, MIB, PATIENCE, Loopback, index_of, is_intact

from winsockctl import Capture, Replay

# Almost fills the smallest block of a ring, so that each datagram has a block of its own.
LARGE = 65507

# Wine takes its time for each.
MANY = 200_000 if sys.platform == "linux" else 20_000


@pytest.fixture
def lo(live_backend, loopback):
    with Loopback(live_backend) as traffic:
        assert traffic.raw.backend == live_backend
        yield traffic


@pytest.fixture
def ring(can_make_networks, loopback):
    with Loopback("packet-ring") as traffic:
        yield traffic


def hoard(lo: Loopback, rounds: int, count: int, length: int) -> list[memoryview]:
    """Keep every view."""
    views = []
    for _ in range(rounds):
        for batch in lo.exchange(count, length):
            views += lo.ours(batch)
    return views


def check_complete(views: list[memoryview], count: int) -> None:
    assert [index_of(view) for view in views] == list(range(count))
    assert all(map(is_intact, views))


@pytest.mark.timeout(300)
def test_a_view_of_every_batch_across_ten_thousand_batches(lo):
    choose = random.Random(1)
    kept = []
    while len(kept) <= 10_000:
        # Small ones come one a block; large ones fill blocks, so that a ring wraps again and again.
        large = choose.random() < 0.1
        for batch in lo.exchange(5 if large else 1, LARGE if large else choose.randrange(4, 1400)):
            views = lo.ours(batch)
            if views:
                kept.append(choose.choice(views))
    assert all(map(is_intact, kept))
    indexes = [index_of(view) for view in kept]
    assert indexes == sorted(set(indexes))
    assert lo.raw.statistics()[1] in (0, None)  # None: the system does not tell


@pytest.mark.timeout(300)
def test_a_hoarder_of_many_datagrams_loses_nothing(lo):
    choose = random.Random(2)
    views = []
    while lo.sent < MANY:
        for batch in lo.exchange(2000, choose.randrange(4, 300)):
            views += lo.ours(batch)
    check_complete(views, MANY)
    assert lo.raw.statistics()[1] in (0, None)  # None: the system does not tell


def test_a_hoarder_of_large_datagrams_loses_nothing(lo):
    views = hoard(lo, 200, 5, LARGE)
    check_complete(views, 1000)
    assert lo.raw.statistics()[1] in (0, None)  # None: the system does not tell


def test_blocks_that_are_ready_come_together(can_make_networks, loopback):
    """A batch costs a program as much as dozens of datagrams do."""
    with Loopback("packet-ring", buffer_size=64 * MIB, latency=0.2) as traffic:
        for number in range(200):
            traffic.sender.send(seeded_payload(number, LARGE))
        views = []
        longest = 0
        while len(views) < 200:
            batch = traffic.raw.receive(PATIENCE)
            assert batch, f"{len(views)} of 200 came"
            longest = max(longest, len(batch))
            views += traffic.ours(batch)
        assert longest > 3  # a block takes three of them
        check_complete(views, 200)


def test_a_hoarder_does_not_use_up_the_mappings_of_the_process(ring):
    """Linux allows 65,530 of them (vm.max_map_count), and the program needs some too."""
    views = hoard(ring, 8300, 1, LARGE)  # one at a time: neighbours would be lent together
    mappings = memory.mappings()
    assert mappings < 40_000
    views += hoard(ring, 300, 1, LARGE)
    assert memory.mappings() < mappings + 100
    assert ring.raw.statistics()[1] == 0
    check_complete(views, 8600)


@pytest.mark.linux  # Windows does not tell how many
def test_a_full_buffer_drops_datagrams_and_leaves_kept_views_alone(lo):
    views = hoard(lo, 1, 5, LARGE)
    for index in range(5, 105):
        lo.sender.send(seeded_payload(index, LARGE))
    assert all(map(is_intact, views))
    while batch := lo.raw.receive(0.1):
        views += lo.ours(batch)
    assert all(map(is_intact, views))
    indexes = [index_of(view) for view in views]
    assert indexes == sorted(set(indexes))
    assert len(indexes) + lo.raw.statistics()[1] == 105
    assert len(indexes) < 105
    # And it goes on.
    lo.sent = 105
    views = hoard(lo, 10, 5, LARGE)
    assert [index_of(view) for view in views] == list(range(105, 155))
    assert all(map(is_intact, views))


@pytest.mark.linux  # what the ring maps besides the heap
def test_memory_goes_back_when_the_views_are_dropped(lo):
    hoard(lo, 20, 5, LARGE)
    resident, mappings, heap = memory.resident(), memory.mappings(), memory.heap()
    views = hoard(lo, 200, 5, LARGE)
    total = sum(map(len, views))
    if not memory.has_address_sanitizer():
        assert memory.resident() - resident > total // 2
    random.Random(3).shuffle(views)
    while views:
        views.pop()
    assert memory.mappings() < mappings + 50
    assert memory.heap() < heap + total // 10
    if not memory.has_address_sanitizer():
        assert memory.resident() < resident + total // 10


# The ring's blocks are mapped.
@pytest.mark.parametrize("live_backend", sorted({*LIVE_BACKENDS} - {"packet-ring"}), indirect=True)
def test_the_heap_gets_back_what_the_views_held(lo):
    hoard(lo, 20, 5, LARGE)
    heap = memory.heap()
    views = hoard(lo, 50, 5, LARGE)
    total = sum(map(len, views))
    assert memory.heap() > heap + total // 2
    random.Random(3).shuffle(views)
    while views:
        views.pop()
    assert memory.heap() < heap + total // 10


@pytest.mark.linux
def test_memory_goes_back_although_a_few_views_are_kept(lo):
    hoard(lo, 20, 5, LARGE)
    resident, heap = memory.resident(), memory.heap()
    views, batches = [], []
    while len(batches) < 400:
        for batch in lo.exchange(5, LARGE):
            views += lo.ours(batch)
            batches.append(batch)
    total = sum(map(len, views))
    del views, batch
    kept = [batch[0] for batch in batches[::20]]
    del batches
    assert memory.heap() < heap + total // 5
    if not memory.has_address_sanitizer():
        assert memory.resident() < resident + total // 5
    assert all(map(is_intact, kept))


def test_one_view_is_enough_to_keep_a_block_while_the_ring_goes_on(lo):
    kept, batches = [], []
    for batch in lo.exchange(500, 1000):
        kept.append(lo.ours(batch)[-1])
        batches.append(weakref.ref(batch))
    del batch
    hoard(lo, 50, 5, LARGE)
    assert all(batch() is not None for batch in batches)
    assert all(map(is_intact, kept))
    kept.clear()
    assert all(batch() is None for batch in batches)


@pytest.mark.parametrize("length", [100, LARGE])
def test_views_outlive_close(lo, length):
    views = hoard(lo, 10, 5, length)
    lo.raw.close()
    gc.collect()
    check_complete(views, 50)


@pytest.mark.parametrize("length", [100, LARGE])
def test_views_outlive_the_capture(loopback, rcvall, length):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1].to_bytes(2)
        capture = Capture("127.0.0.1", buffer_size=MIB, latency=0.001)
        for index in range(5):
            sender.sendto(seeded_payload(index, length), receiver.getsockname())
        views = []
        for view in capture:
            if view[22:24] == port:
                views.append(view)
            if len(views) == 5:
                break
        reference = weakref.ref(capture)
        del capture, view
        gc.collect()
        assert reference() is None
        check_complete(views, 5)


@pytest.mark.parametrize("seed", range(3))
def test_views_released_in_any_order(lo, seed):
    choose = random.Random(seed)
    views = []
    for _ in range(60):
        for batch in lo.exchange(4, choose.choice((50, 9000, LARGE))):
            views += lo.ours(batch)
        for _ in range(min(choose.randrange(6), len(views))):
            victim = views.pop(choose.randrange(len(views)))
            assert is_intact(victim)
            if choose.random() < 0.5:
                victim.release()
            del victim
    assert all(map(is_intact, views))
    if seed == 0:
        lo.raw.close()
    choose.shuffle(views)
    while views:
        assert is_intact(views.pop())


def test_views_read_and_dropped_by_another_thread(lo):
    views = hoard(lo, 30, 5, LARGE)
    results = []

    def work():
        results.append(all(map(is_intact, views)))
        views.clear()

    thread = threading.Thread(target=work)
    thread.start()
    more = hoard(lo, 30, 5, LARGE)
    thread.join()
    assert results == [True]
    assert views == []
    assert [index_of(view) for view in more] == list(range(150, 300))
    assert all(map(is_intact, more))


@pytest.mark.timeout(300)
def test_many_threads_keep_and_drop_views_while_receive_runs(lo):
    workers = 6
    inboxes = [collections.deque() for _ in range(workers)]
    finished = threading.Event()
    failures, handled = [], []

    def work(number):
        choose = random.Random(number)
        kept, count = [], 0
        while True:
            last = finished.is_set()
            while inboxes[number]:
                kept.append(inboxes[number].popleft())
                if len(kept) > 200:
                    view = kept.pop(choose.randrange(len(kept)))
                    count += 1
                    if not is_intact(view):
                        failures.append(index_of(view))
                    if choose.random() < 0.3:
                        view.release()
                    del view
            if last:
                break
            finished.wait(0.001)
        failures.extend(index_of(view) for view in kept if not is_intact(view))
        handled.append(count + len(kept))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    choose = random.Random(99)
    try:
        for _ in range(MANY // 500):
            large = choose.random() < 0.3
            for batch in lo.exchange(5 if large else 100, LARGE if large else 200):
                for view in lo.ours(batch):
                    inboxes[choose.randrange(workers)].append(view)
    finally:
        finished.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert sum(handled) == lo.sent
    assert lo.raw.statistics()[1] in (0, None)  # None: the system does not tell


def test_numpy_arrays_keep_the_memory(lo):
    arrays, tables = [], []
    for _ in range(40):
        for batch in lo.exchange(5, LARGE):
            for i, view in enumerate(batch):
                if lo.is_ours(view):
                    arrays.append(numpy.frombuffer(view, numpy.uint8))
                    tables.append((numpy.asarray(batch.records)[i : i + 1], batch.lengths[i]))
                    table = numpy.asarray(batch.records)
                    start = int(table["offset"][i])
                    whole = numpy.frombuffer(batch.buffer, numpy.uint8)
                    assert numpy.array_equal(whole[start : start + len(view)], arrays[-1])
            del batch, view
    lo.raw.close()
    gc.collect()
    assert [int.from_bytes(array[HEADERS : HEADERS + 4].tobytes()) for array in arrays] == list(
        range(200)
    )
    for array, (table, length) in zip(arrays, tables, strict=True):
        assert is_intact(memoryview(array))
        assert table["length"].tolist() == [length] == [len(array)]
        assert table["version"].tolist() == [4]
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_slices_keep_the_memory(lo):
    slices = []
    for _ in range(40):
        for batch in lo.exchange(5, LARGE):
            for view in lo.ours(batch):
                slices.append((index_of(view), view[HEADERS + 100 : HEADERS + 132][::2]))
                view.release()
    lo.raw.close()
    gc.collect()
    assert [index for index, _ in slices] == list(range(200))
    for index, part in slices:
        assert part == seeded_payload(index, LARGE)[100:132:2]


def test_a_released_view_gives_its_block_back(lo):
    views, batches = [], []
    for batch in lo.exchange(5, LARGE):
        views += lo.ours(batch)
        batches.append(weakref.ref(batch))
    del batch
    assert all(batch() is not None for batch in batches)
    for view in views:
        view.release()
    assert all(batch() is None for batch in batches)
    with pytest.raises(ValueError, match="released"):
        bytes(views[0])


def test_the_block_goes_with_its_last_view(lo):
    (batch,) = [batch for batch in lo.exchange(1, LARGE) if lo.ours(batch)]
    reference = weakref.ref(batch)
    (view,) = lo.ours(batch)
    holders = [
        view,
        view[5:9],
        numpy.frombuffer(view, numpy.uint8),
        batch.datagram(0),
        batch.buffer,
        batch.records,
        batch.timestamps_ns,
        batch.offsets,
        batch.lengths,
        iter(batch),
        batch.datagrams(),
    ]
    del batch, view
    random.Random(5).shuffle(holders)
    while holders:
        assert reference() is not None
        holders.pop()
    gc.collect()
    assert reference() is None


def test_r15_the_kernels_socket_goes_although_views_are_kept(ring):
    def kernel_sockets():
        return Path("/proc/thread-self/net/packet").read_text().split()

    views = hoard(ring, 4, 5, LARGE)
    inode = Path(f"/proc/self/fd/{ring.raw.fileno()}").readlink().name
    inode = inode.removeprefix("socket:[").removesuffix("]")
    assert inode in kernel_sockets()
    ring.raw.close()
    assert inode not in kernel_sockets()
    check_complete(views, 20)


# All of the process's mappings but a few are used up; then views are kept until no more can be.
FEW_MAPPINGS = """
    import ctypes
    from pathlib import Path
    from traffic import Loopback, index_of, is_intact
    from winsockctl import WinsockError

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    PRIVATE_ANONYMOUS = 0x22

    views, failure = [], None
    with Loopback("packet-ring") as lo:
        used = []
        while True:
            # Neighbours with equal protection would become one mapping.
            place = libc.mmap(None, 4096, len(used) % 2, PRIVATE_ANONYMOUS, -1, 0)
            if place == ctypes.c_void_p(-1).value:
                break
            used.append(place)
        for _ in range(60):
            libc.munmap(used.pop(), 4096)
        try:
            for _ in range(60):
                for batch in lo.exchange(2, 65507):
                    views += lo.ours(batch)
        except WinsockError as error:
            failure = error.symbol
        assert failure in (None, "WSAENOBUFS"), failure
        assert len(views) > 5
        assert [index_of(view) for view in views] == list(range(len(views)))
        assert all(map(is_intact, views))
        while used:
            libc.munmap(used.pop(), 4096)
        while failure is not None and len(views) < lo.sent:
            views += lo.ours(lo.raw.receive(10))
        for _ in range(30):
            for batch in lo.exchange(2, 65507):
                views += lo.ours(batch)
    assert [index_of(view) for view in views] == list(range(lo.sent))
    assert all(map(is_intact, views))
"""


@pytest.mark.linux
def test_without_mappings_left_nothing_is_torn_and_the_capture_goes_on_afterwards(loopback):
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FEW_MAPPINGS)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert child.returncode == 0, child.stderr


# The same promises without a network.


def test_views_of_a_replay_outlive_it():
    expected = mixed(2000)
    replay = Replay(expected, batch_size=100)
    views = [view for batch in replay.batches() for view in batch]
    replay.close()
    reference = weakref.ref(replay)
    del replay
    gc.collect()
    assert reference() is None
    order = list(range(2000))
    random.Random(6).shuffle(order)
    views = dict(enumerate(views))
    for i in order:
        assert views.pop(i) == expected[i]


def test_blocks_of_a_replay_that_were_not_read_go_with_it():
    datagrams = [of_length(60000, index=i) for i in range(500)]
    before = memory.heap()
    replay = Replay(datagrams, batch_size=10)
    assert memory.heap() - before > 25_000_000
    kept = replay.read(0)[3]
    replay.close()
    del replay
    assert memory.heap() - before < 1_000_000
    assert kept == datagrams[3]
