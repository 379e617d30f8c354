"""Whether a datagram costs the same late, among many captures and with any size of buffer."""

import json

import pytest

from benchmarks.clock import play, play_runs
from benchmarks.consumers import Consumer
from benchmarks.effort import PACED, Load

LOAD = Load("veth", 18, PACED)
INTERVAL = 10  # seconds
FEWEST_INTERVALS = 12
VARIANTS = {
    "1 capture": ("views", ()),
    "64 captures": ("among_64", ()),
    "buffer of 1 MiB": ("views", (f"buffer_size={2**20}",)),
    "buffer of 64 MiB": ("views", (f"buffer_size={2**26}",)),
    "buffer of 1 GiB": ("views", (f"buffer_size={2**30}",)),
}


@pytest.fixture(scope="module")
def variants(machine, effort, measured):
    """The runs of every variant, in turns."""
    rounds = [
        [
            machine.run(Consumer(name, ""), LOAD, *options, seconds=3 * effort.seconds)
            for name, options in VARIANTS.values()
        ]
        for _ in range(effort.rounds)
    ]
    found = dict(zip(VARIANTS, zip(*rounds, strict=True), strict=True))
    for title, runs in found.items():
        measured.flatness[f"{title}, ns"] = [run.cost for run in runs]
    return found


@pytest.mark.smoke
@pytest.mark.parametrize("variant", VARIANTS)
def test_captures_and_buffers(benchmark, variants, variant):
    benchmark.group = "flatness"
    play_runs(benchmark, variants[variant])
    for run in variants[variant]:
        assert run.adds_up


@pytest.mark.smoke
def test_long_run(benchmark, machine, effort, measured):
    benchmark.group = "flatness"
    interval = min(INTERVAL, effort.long / FEWEST_INTERVALS)
    run = machine.run(Consumer("soak", ""), LOAD, f"interval={interval}", seconds=effort.long)
    intervals = [json.loads(line) for line in run.errors.splitlines()]
    play(benchmark, [each["ns"] / 1e9 for each in intervals[:-1]])
    measured.flatness |= {
        f"first {interval:g} s, ns": [intervals[0]["ns"]],
        f"last {interval:g} of {effort.long:g} s, ns": [intervals[-2]["ns"]],
        "resident memory after the first interval, bytes": [intervals[0]["resident"]],
        "resident memory at the end, bytes": [intervals[-1]["resident"]],
        "lost in the long run": [run.lost],
    }
    assert run.adds_up
