"""The clock that pytest-benchmark reads: it shows the CPU time that consumers used."""

from collections.abc import Sequence

from benchmarks.measure import Run


class Clock:
    """Stands still, except while a run that was measured is played to it.

    pytest-benchmark would run all rounds of one row and then all of the next. Rows are measured in
    turns instead (``Interleaved``), and what came out is played to it row by row.
    """

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        self._seconds += seconds


clock = Clock()


def play(benchmark, seconds: Sequence[float]) -> None:
    """Make each a round of the benchmark."""
    rounds = iter(seconds)
    benchmark.pedantic(
        clock.advance, setup=lambda: ((next(rounds),), {}), rounds=len(seconds), iterations=1
    )


def play_runs(benchmark, runs: Sequence[Run]) -> None:
    """Make the cost of a datagram in each run a round; keep the counts beside it."""
    play(benchmark, [run.cost / 1e9 for run in runs])
    benchmark.extra_info.update(
        sent=[run.sent for run in runs],
        received=[run.received for run in runs],
        dropped=[run.dropped for run in runs],
    )
