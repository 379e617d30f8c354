"""What a datagram costs that passes an interface, beside everything else that can be had."""

import pytest

from benchmarks import consumers
from benchmarks.clock import play_runs
from benchmarks.effort import PACED, PAYLOADS, Load

SMOKE = Load("veth", 18, PACED)
LOADS = [
    *(Load("veth", payload, rate) for payload in PAYLOADS for rate in (0, PACED)),
    Load("loopback", 18, 0),
]


@pytest.mark.parametrize("consumer", consumers.LIVE, ids=str)
@pytest.mark.parametrize(
    "load",
    [pytest.param(load, marks=[pytest.mark.smoke] if load == SMOKE else []) for load in LOADS],
    ids=str,
)
def test_live(benchmark, machine, effort, interleaved, load, consumer):
    benchmark.group = str(load)
    runs = interleaved(lambda consumer: machine.run(consumer, load, seconds=effort.seconds))
    play_runs(benchmark, runs)
    for run in runs:
        assert run.sent > 0
        assert 0 < run.received <= run.sent
        if consumer.ours:
            assert run.adds_up
