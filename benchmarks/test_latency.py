"""How long after its sending a datagram is in the program's hands, at ten a second."""

import pytest

from benchmarks.clock import play
from benchmarks.consumers import Consumer
from benchmarks.effort import Load

LOAD = Load("veth", 18, 10)
MOST_SECONDS = 20


@pytest.mark.parametrize(
    "latency",
    [pytest.param(0.001), pytest.param(0.01, marks=pytest.mark.smoke), pytest.param(0.06)],
)
def test_latency(benchmark, machine, effort, measured, latency):
    benchmark.group = "latency at 10 datagrams a second"
    run = machine.run(
        Consumer("delays", ""),
        LOAD,
        f"latency={latency}",
        seconds=min(effort.long, MOST_SECONDS),
    )
    delays = sorted(int(line) / 1e9 for line in run.errors.splitlines())
    play(benchmark, delays)
    measured.latency[f"{latency:g}"] = delays
    assert len(delays) == run.received == run.sent
