"""The largest load that each consumer takes without loss."""

import pytest

from benchmarks import consumers
from benchmarks.effort import Load

# Thousands of datagrams a second; 0 is full speed.
RATES = (1, 2, 4, 8, 20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 0)
SLOW_LIMIT = 50
TRIES = 2  # A rate counts if one of them lost nothing: the machine has other things to do.


@pytest.mark.parametrize(
    "consumer",
    [
        pytest.param(
            consumer,
            marks=[pytest.mark.smoke] if consumer is consumers.VIEWS else [],
            id=str(consumer),
        )
        for consumer in consumers.LIVE
    ],
)
@pytest.mark.parametrize("payload", [18, 1400], ids="{} B".format)
def test_largest_load(machine, effort, measured, consumer, payload):
    if missing := consumer.missing():
        pytest.skip(missing)

    def taken(rate: int) -> float:
        """Datagrams a second that were sent if none was lost, 0 otherwise."""
        for _ in range(TRIES):
            load = Load("veth", payload, rate * 1000)
            run = machine.run(consumer, load, seconds=3 * effort.seconds)
            assert run.received <= run.sent
            if run.received == run.sent:
                return run.sent / run.seconds
        return 0

    best = 0.0
    below, above = -1, RATES.index(SLOW_LIMIT) if consumer.slow else len(RATES)
    while above - below > 1:
        middle = (below + above) // 2
        if rate := taken(RATES[middle]):
            below, best = middle, max(best, rate)
        else:
            above = middle
    measured.largest_load.setdefault(f"{payload} B", {})[consumer.name] = best
    if consumer.ours:
        assert best > 0
