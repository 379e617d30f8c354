"""What scapy takes for a packet that it dissects, from its own socket and through ours."""

import pytest

from benchmarks import consumers
from benchmarks.clock import play_runs
from benchmarks.effort import Load

SECONDS = 2


@pytest.mark.parametrize("consumer", consumers.SNIFFERS, ids=str)
@pytest.mark.parametrize("load", [Load("veth", 100, rate) for rate in (1000, 4000)], ids=str)
def test_scapy(benchmark, machine, interleaved, load, consumer):
    benchmark.group = str(load)
    runs = interleaved(lambda consumer: machine.run(consumer, load, seconds=SECONDS))
    play_runs(benchmark, runs)
    for run in runs:
        assert 0 < run.received <= run.sent
