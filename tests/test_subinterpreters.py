"""The extension keeps its state per interpreter: two of them use it at once."""

import textwrap
import threading
from pathlib import Path

import pytest
from datagrams import mixed

from winsockctl import Replay

try:
    import _interpreters as interpreters  # CPython 3.13 and later
except ImportError:
    interpreters = pytest.importorskip(
        "_xxsubinterpreters", reason="this Python has no module for sub-interpreters"
    )

SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})

    import winsockctl
    from datagrams import mixed
    from winsockctl import Direction, RawSocket, Replay, WinsockError

    expected = mixed(300)
    kept = []
    for _ in range({rounds}):
        with Replay(expected, batch_size=50) as replay:
            batches = list(replay.batches())
        assert [bytes(view) for batch in batches for view in batch] == expected
        record = batches[0].datagram(0)
        assert record.direction is Direction(record.direction)
        kept = [view for batch in batches for view in batch]
        try:
            RawSocket.replay([], faults={{"socket": 10013}})
        except PermissionError as error:
            assert isinstance(error, WinsockError), type(error)
            assert error.code == 10013
        else:
            raise AssertionError("the call did not fail")
        assert winsockctl.backends()[-1] == "replay"
        assert winsockctl.interfaces()
    assert [bytes(view) for view in kept] == expected
"""


def run_in_new_interpreter(script: str) -> None:
    identity = interpreters.create()
    try:
        # 3.11 and 3.12 raise what the script raised, later versions return it.
        failure = interpreters.run_string(identity, script)
        assert failure is None, failure
    finally:
        interpreters.destroy(identity)


def script(rounds: int) -> str:
    tests = str(Path(__file__).parent)
    return textwrap.dedent(SCRIPT).format(tests=tests, rounds=rounds)


def test_works_in_a_sub_interpreter():
    run_in_new_interpreter(script(3))


def test_interpreters_come_and_go():
    for _ in range(5):
        run_in_new_interpreter(script(1))
    with Replay(mixed(10)) as replay:
        assert [bytes(view) for view in replay] == mixed(10)


def test_a_failure_in_the_script_is_seen_here():
    with pytest.raises(
        (interpreters.RunFailedError, AssertionError)
        if hasattr(interpreters, "RunFailedError")
        else AssertionError
    ):
        run_in_new_interpreter("assert not 'this shows that the other tests can fail'")


def test_works_in_two_sub_interpreters_and_the_main_one_at_once():
    failures = []

    def work():
        try:
            run_in_new_interpreter(script(30))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    expected = mixed(300)
    while any(thread.is_alive() for thread in threads):
        with Replay(expected) as replay:
            assert [bytes(view) for view in replay] == expected
    for thread in threads:
        thread.join()
    assert failures == []


def test_views_of_an_interpreter_that_ended_are_not_needed_to_end_it():
    # The interpreter is destroyed while views, iterators and a waiting-to-be-closed socket exist.
    run_in_new_interpreter(
        script(1)
        + textwrap.dedent(
            """
            open_replay = Replay(expected, wait=True)
            batch = open_replay.read(0)
            iterator = iter(batch)
            view = next(iterator)
            records = batch.records
            """
        )
    )
