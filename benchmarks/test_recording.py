"""What a datagram costs that goes into a savefile on a disk, and how many are lost on the way."""

import pytest

from benchmarks import consumers
from benchmarks.clock import play_runs
from benchmarks.effort import Load

LENGTHENED = 3  # times the seconds of other live runs: a disk takes the first ones into its cache


@pytest.mark.parametrize("consumer", consumers.RECORDING, ids=str)
@pytest.mark.parametrize("load", [Load("recording", 18, 0), Load("recording", 1400, 0)], ids=str)
def test_recording(benchmark, machine, effort, interleaved, tmp_path, load, consumer):
    benchmark.group = str(load)
    seconds = LENGTHENED * effort.seconds
    runs = interleaved(lambda consumer: machine.run(consumer, load, str(tmp_path), seconds=seconds))
    play_runs(benchmark, runs)
    for run in runs:
        assert 0 < run.received <= run.sent
        if consumer.ours:
            assert run.received + run.dropped == run.sent
