"""What a datagram costs that comes from a savefile, or from memory."""

from dataclasses import dataclass

import pytest

from benchmarks import consumers
from benchmarks.clock import play_runs
from benchmarks.effort import PAYLOADS
from benchmarks.measure import write_savefile


@dataclass(frozen=True)
class Stored:
    place: str  # "savefile" or "memory"
    payload: int  # bytes

    def __str__(self) -> str:
        return f"{self.place}, {self.payload} B"


ROWS = [
    pytest.param(
        load,
        consumer,
        id=f"{load}-{consumer}",
        marks=[pytest.mark.smoke] if payload == PAYLOADS[0] else [],
    )
    for payload in PAYLOADS
    for load, group in (
        (Stored("savefile", payload), consumers.OFFLINE),
        (Stored("memory", payload), consumers.MEMORY),
    )
    for consumer in group
]


@pytest.fixture(scope="session")
def savefile(tmp_path_factory, effort):
    folder = tmp_path_factory.mktemp("savefiles")

    def path(payload: int):
        file = folder / f"{payload}.pcap"
        if not file.exists():
            write_savefile(file, payload, effort.savefile)
        return file

    return path


@pytest.mark.parametrize(("load", "consumer"), ROWS)
def test_offline(benchmark, machine, effort, savefile, interleaved, load, consumer):
    benchmark.group = str(load)
    path = savefile(load.payload)
    runs = interleaved(lambda consumer: machine.run_offline(consumer, path, effort.savefile))
    play_runs(benchmark, runs)
    for run in runs:
        assert run.received == effort.savefile
