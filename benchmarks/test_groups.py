"""What captures do together that share the load of an interface by flow."""

import dataclasses

import pytest

from benchmarks.clock import play_runs
from benchmarks.consumers import Consumer
from benchmarks.effort import Load
from benchmarks.measure import Run

LOAD = Load("veth", 18, 0, flows=64)
OPTIONS = ("fanout=1", f"buffer_size={4 * 2**20}")


def together(runs: list[Run]) -> Run:
    return dataclasses.replace(
        runs[0],
        received=sum(run.received for run in runs),
        dropped=sum(run.dropped for run in runs),
        cpu_ns=sum(run.cpu_ns for run in runs),
    )


@pytest.mark.smoke
@pytest.mark.parametrize("count", [1, 2], ids="{} processes".format)
def test_groups(benchmark, machine, effort, measured, count):
    benchmark.group = "captures that share the load"
    rounds = [
        machine.run_group(
            Consumer("dissecting", ""), count, LOAD, *OPTIONS, seconds=2 * effort.seconds
        )
        for _ in range(effort.rounds)
    ]
    runs = measured.groups[str(count)] = [together(members) for members in rounds]
    play_runs(benchmark, runs)
    for members, run in zip(rounds, runs, strict=True):
        assert all(member.received > 0 for member in members)
        assert run.adds_up
