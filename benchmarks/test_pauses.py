"""A program that does something else for 20 ms every second loses nothing."""

import pytest

from benchmarks.clock import play_runs
from benchmarks.consumers import Consumer
from benchmarks.effort import Load

RATE = 1_000_000
SENDERS = 2  # one alone does not make that rate
SECONDS = 5  # at least four pauses

LOADS = [
    pytest.param(Load("veth", 18, RATE, senders=SENDERS), marks=pytest.mark.smoke),
    Load("veth", 1400, RATE, senders=SENDERS),
]


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_pauses(pytestconfig, benchmark, machine, effort, measured, load):
    benchmark.group = "a program that pauses"
    seconds = effort.seconds if pytestconfig.getoption("quick") else SECONDS
    runs = [
        machine.run(Consumer("pausing", ""), load, seconds=seconds) for _ in range(effort.rounds)
    ]
    play_runs(benchmark, runs)
    measured.pauses[str(load)] = runs
    for run in runs:
        assert run.adds_up
