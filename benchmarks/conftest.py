"""The options, the machine that consumers run on, and what was measured."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.build import build
from benchmarks.clock import clock
from benchmarks.consumers import Consumer
from benchmarks.effort import FULL, QUICK, Effort
from benchmarks.measure import Bench, Run, bench

BASELINE = Path(__file__).parent / "baseline.json"
SLOW_ROUNDS = 1  # of those that take so long that all others together take less
MEASURED = pytest.StashKey[report.Measured]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("winsockctl")
    group.addoption("--quick", action="store_true", help="seconds, and figures that mean nothing")
    group.addoption("--rounds", type=int, help=f"runs of each row ({FULL.rounds})")
    group.addoption("--seconds", type=float, help=f"of one live run ({FULL.seconds})")
    group.addoption("--long", type=float, help=f"seconds of the longest run ({FULL.long:g})")
    group.addoption("--report", type=Path, help="folder to write performance.md and its charts to")
    group.addoption(
        "--results", type=Path, help="JSON file to keep results in; what is not measured stays"
    )
    group.addoption("--save-baseline", action="store_true", help="for later comparisons")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "smoke: part of a run that only shows that it all works")
    config.stash[MEASURED] = report.Measured()


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.benchmark(timer=clock))
    item.add_marker(pytest.mark.timeout(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == "test_report.py")  # behind all the others


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Keep what is measured so far, for whoever interrupts the rest."""
    if results := item.config.getoption("results"):
        kept = report.Measured()
        kept.add(item.config.stash[MEASURED])
        if results.exists():
            kept.add(report.Measured.load(results.read_text()))
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(kept.dump())


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    summary = report.summary(config.stash[MEASURED])
    if config.getoption("save_baseline"):
        BASELINE.write_text(json.dumps(summary, indent=1) + "\n")
    elif BASELINE.exists() and not config.getoption("quick"):
        terminalreporter.section("against the baseline")
        terminalreporter.line(report.comparison(summary, json.loads(BASELINE.read_text())))


@pytest.fixture(scope="session")
def effort(pytestconfig: pytest.Config) -> Effort:
    chosen = {
        name: value
        for name in ("rounds", "seconds", "long")
        if (value := pytestconfig.getoption(name)) is not None
    }
    return dataclasses.replace(QUICK if pytestconfig.getoption("quick") else FULL, **chosen)


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> report.Measured:
    return pytestconfig.stash[MEASURED]


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(build(tmp_path_factory.mktemp("programs"))) as machine:
        yield machine


@pytest.fixture
def interleaved(
    request: pytest.FixtureRequest, effort: Effort, measured: report.Measured
) -> Callable[..., list[Run]]:
    """Measure the rows of a load in turns when the first of them is asked for.

    The argument runs one consumer once; the load and the consumer are the test's parameters.
    """

    def runs(run: Callable[[Consumer], Run]) -> list[Run]:
        here = request.node
        load = str(here.callspec.params["load"])
        if load not in measured.results:
            rows = [
                item.callspec.params["consumer"]
                for item in request.session.items
                if getattr(item, "originalname", "") == here.originalname
                and str(item.callspec.params["load"]) == load
            ]
            rows = [consumer for consumer in rows if not consumer.missing()]
            found = measured.results[load] = {consumer.name: [] for consumer in rows}
            # Every row once, then every row again: what disturbs the machine disturbs them all.
            for number in range(effort.rounds):
                for consumer in rows:
                    if number < SLOW_ROUNDS or not consumer.slow:
                        found[consumer.name].append(run(consumer))
        consumer = here.callspec.params["consumer"]
        if missing := consumer.missing():
            pytest.skip(missing)
        return measured.results[load][consumer.name]

    return runs
