"""What it costs to write every datagram to a file on disk, and how much of it gets there."""

import tempfile
from pathlib import Path

import pytest

from benchmarks.clock import play_runs
from benchmarks.effort import Load
from benchmarks.recorders import RECORDERS

LOADS = [
    pytest.param(Load("veth", 18, 0), marks=pytest.mark.smoke),
    Load("veth", 1400, 0),
    Load("veth", 1400, 300_000),
]


@pytest.fixture(scope="module")
def recordings(machine, effort):
    """The runs of every recorder under a load, in turns."""
    found = {}

    def runs(load, recorder):
        if load not in found:
            here = [recorder for recorder in RECORDERS if not recorder.missing()]
            found[load] = {recorder.name: [] for recorder in here}
            # Beside the project, not in /tmp, which may be no disk.
            with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
                for _ in range(effort.rounds):
                    for other in here:
                        path = Path(folder, "recording")
                        run = machine.run_recorder(other, path, load, seconds=2 * effort.seconds)
                        path.unlink()
                        found[load][other.name].append(run)
        return found[load][recorder.name]

    return runs


@pytest.mark.parametrize("recorder", RECORDERS, ids=str)
@pytest.mark.parametrize("load", LOADS, ids=str)
def test_recorders(benchmark, measured, recordings, load, recorder):
    if missing := recorder.missing():
        pytest.skip(missing)
    benchmark.group = f"to disk, {load}"
    runs = recordings(load, recorder)
    play_runs(benchmark, runs)
    measured.recorders.setdefault(str(load), {})[recorder.name] = runs
    for run in runs:
        assert 0 < run.received <= run.sent
        if recorder.ours:
            assert run.adds_up
