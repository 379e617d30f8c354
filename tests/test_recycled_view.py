"""A loop over a batch uses a view again once nobody else has it, and nobody can see the difference.

Whatever a program does with a view that it got, the next step of the loop never changes it.
"""

import collections
import gc
import itertools
import random
import sysconfig
import threading
import tracemalloc
import weakref

import numpy
import pytest
from datagrams import mixed, of_length

from winsockctl import Batch, RawSocket, RcvAll, Reader, Replay, set_rcvall

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
STAMP = 1_700_000_000_000_000_000


def batch_of(datagrams: list[bytes]) -> Batch:
    """Return one batch whose datagrams are stamped STAMP, STAMP + 1 and so on."""
    stamped = [(datagram, STAMP + i) for i, datagram in enumerate(datagrams)]
    with Replay(stamped, batch_size=len(stamped)) as replay:
        return replay.read(0)


@pytest.mark.skipif(FREE_THREADED, reason="a free-threaded build makes each view anew")
def test_a_view_that_nobody_has_is_used_again():
    iterator = iter(batch_of(mixed(10)))
    tracemalloc.start()
    try:
        made = [
            tracemalloc.get_object_traceback(next(iterator)),
            tracemalloc.get_object_traceback(next(iterator)),
        ]
        again = [tracemalloc.get_object_traceback(next(iterator)) for _ in range(8)]
    finally:
        tracemalloc.stop()
    assert made[0] != made[1]
    assert again == made * 4


def test_every_view_of_the_loop_shows_its_own_datagram():
    expected = mixed(400)
    for i, view in enumerate(batch_of(expected)):
        assert view.nbytes == len(view) == len(expected[i])
        assert view.shape == (len(expected[i]),)
        assert view.tobytes() == bytes(view) == expected[i]
        assert (view[0], view[-1]) == (expected[i][0], expected[i][-1])
        assert (view.format, view.readonly, view.contiguous) == ("B", True, True)
        assert view.obj.timestamp_ns == STAMP + i
        assert bytes(view.obj.data) == expected[i]


def test_a_kept_view_is_never_changed_by_the_loop():
    expected = mixed(400)
    batch = batch_of(expected)
    choose = random.Random(3)
    kept = []
    for i, view in enumerate(batch):
        if choose.random() < 0.3:
            kept.append((i, view))
        if choose.random() < 0.3 and kept:
            kept.pop(choose.randrange(len(kept)))
    assert len({id(view) for _, view in kept}) == len(kept)
    assert all(bytes(view) == expected[i] for i, view in kept)


def test_a_slice_or_cast_taken_from_the_loop_stays_what_it_was():
    expected = mixed(300)
    derived = []
    for view in batch_of(expected):
        derived.append((view[4:20], view.cast("c"), view.toreadonly(), iter(view)))
    for datagram, (part, cast, same, iterator) in zip(expected, derived, strict=True):
        assert part == datagram[4:20]
        assert cast.tobytes() == datagram
        assert same == datagram
        assert bytes(iterator) == datagram


def test_numpy_arrays_taken_from_the_loop_stay_what_they_were():
    expected = mixed(300)
    arrays = [numpy.frombuffer(view, numpy.uint8) for view in batch_of(expected)]
    gc.collect()
    assert [array.tobytes() for array in arrays] == expected


def test_each_view_of_the_loop_has_its_own_hash():
    expected = mixed(300)
    for view, datagram in zip(batch_of(expected), expected, strict=True):
        assert hash(view) == hash(datagram)


def test_a_view_that_was_released_in_the_loop_does_not_end_it():
    expected = mixed(100)
    seen = []
    for view in batch_of(expected):
        with view:
            seen.append(bytes(view))
    assert seen == expected
    with pytest.raises(ValueError, match="released"):
        bytes(view)


def test_a_weak_reference_to_a_view_never_sees_another_datagram():
    expected = mixed(100)
    references = []
    for i, view in enumerate(batch_of(expected)):
        references.append((weakref.ref(view), i))
        for reference, index in references:
            alive = reference()
            assert alive is None or bytes(alive) == expected[index]
    del view, alive
    gc.collect()
    assert all(reference() is None for reference, _ in references)


def test_a_view_handed_to_another_thread_stays_what_it_was():
    expected = mixed(500)
    results = [None] * 500
    turns = threading.Semaphore(8)

    def work(index, view):
        with turns:
            results[index] = bytes(view)

    threads = []
    for i, view in enumerate(batch_of(expected)):
        if i % 10 == 0:
            threads.append(threading.Thread(target=work, args=(i, view)))
            threads[-1].start()
    del view
    for thread in threads:
        thread.join()
    assert results[::10] == expected[::10]


def test_one_iterator_shared_by_threads_gives_each_datagram_once():
    expected = [of_length(40, index=i) for i in range(5000)]
    iterator = iter(batch_of(expected))
    seen = []

    def work():
        mine = []
        while True:
            try:
                mine.append(bytes(next(iterator)))
            except StopIteration:
                break
        seen.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(expected)


def test_a_datagram_taken_from_a_view_stays_what_it_was():
    expected = mixed(300)
    kept = [view.obj for view in batch_of(expected)]
    assert [bytes(datagram.data) for datagram in kept] == expected
    assert [datagram.timestamp_ns for datagram in kept] == [STAMP + i for i in range(300)]


def test_a_managed_buffer_that_the_garbage_collector_shows_ends_with_its_view():
    kept = []
    for view in batch_of(mixed(300)):
        kept += gc.get_referents(view)
    assert len({id(buffer) for buffer in kept}) == 300
    del view
    assert all(gc.get_referents(buffer) == [] for buffer in kept)


def test_a_view_that_the_garbage_collector_shows_stays_what_it_was():
    expected = mixed(100)
    iterator = iter(batch_of(expected))
    found = []
    for i, datagram in enumerate(expected):
        del_me = next(iterator)
        stamp = del_me.obj.timestamp_ns
        del del_me
        assert stamp == STAMP + i
        if i % 10 == 0:
            for thing in gc.get_objects():
                if type(thing) is memoryview and bytes(thing) == datagram:
                    found.append((i, thing))
            del thing
    assert found
    assert all(bytes(view) == expected[i] for i, view in found)
    assert all(view.obj.timestamp_ns == STAMP + i for i, view in found)


def test_a_collection_in_the_middle_of_the_loop_changes_nothing():
    expected = mixed(100)
    for view, datagram in zip(batch_of(expected), expected, strict=True):
        gc.collect()
        assert bytes(view) == datagram


def test_a_generator_that_rests_in_the_loop_goes_on_where_it_was():
    expected = mixed(100)
    batch = batch_of(expected)

    def rest():
        for view in batch:
            yield
            yield bytes(view)

    generators = [rest() for _ in range(5)]
    for datagram in expected:
        for generator in generators:
            next(generator)
        assert [next(generator) for generator in generators] == [datagram] * 5


def test_the_batch_may_go_before_the_loop_ends():
    expected = mixed(100)
    iterator = iter(batch_of(expected))
    gc.collect()
    for view, datagram in zip(iterator, expected, strict=True):
        assert bytes(view) == datagram


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_an_iterator_at_its_end_keeps_neither_the_batch_nor_a_view(count):
    batch = batch_of(mixed(count))
    reference = weakref.ref(batch)
    iterator = iter(batch)
    del batch
    collections.deque(itertools.islice(iterator, count), maxlen=0)
    assert reference() is not None
    assert next(iterator, None) is None
    assert reference() is None


def test_a_reader_that_waits_for_its_next_batch_keeps_nothing_of_the_last_one():
    batches = []

    class Watched:
        def __init__(self, raw):
            self.raw = raw

        def receive(self, timeout):
            assert [batch() for batch in batches] == [None] * len(batches)
            batch = self.raw.receive(timeout)
            batches.append(weakref.ref(batch))
            return batch

    expected = mixed(30)
    with RawSocket.replay(expected, batch_size=5) as raw:
        raw.bind("replay")
        set_rcvall(raw, RcvAll.ON)
        assert list(map(bytes, Reader(Watched(raw)))) == expected
    assert len(batches) == 7


class Collected:
    """Garbage whose finalizer uses up iterators; a collection may come at any allocation."""

    def __init__(self, iterators):
        self.myself = self
        self.iterators = iterators

    def __del__(self):
        for iterator in self.iterators:
            collections.deque(iterator, maxlen=0)


@pytest.fixture
def eager_collector():
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*threshold)


def test_an_iterator_used_up_while_it_makes_a_view_keeps_nothing(eager_collector):
    for _ in range(200):
        batch = batch_of(mixed(20))
        reference = weakref.ref(batch)
        iterator = iter(batch)
        del batch
        Collected([iterator])
        next(iterator, None)
        collections.deque(iterator, maxlen=0)
        assert reference() is None


def test_an_iterator_dropped_while_it_makes_a_view_does_not_crash(eager_collector):
    expected = mixed(20)
    for _ in range(200):
        # A chain drops the iterator of a batch at its end.
        chain = itertools.chain.from_iterable([batch_of(expected)])
        Collected([chain])
        view = next(chain, None)
        assert view is None or bytes(view) in expected
