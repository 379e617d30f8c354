"""Writes what was measured: tables, charts, and what got slower since the baseline."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles

from matplotlib import pyplot

from benchmarks.consumers import (
    BATCHES,
    FILE_PYPCAP,
    FILE_VIEWS,
    LIVE,
    MEMORY,
    MEMORY_BATCHES,
    MEMORY_FLOOR,
    OFFLINE,
    PCAP_LOOP,
    PYPCAP,
    RECORDS,
    RECV_INTO,
    RING_WALK,
    SNIFFERS,
    VIEWS,
    Consumer,
)
from benchmarks.measure import Run
from benchmarks.recorders import RECORDERS

# Text stays text and identifiers stay the same, so that a chart changes only with its figures.
pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "winsockctl", "font.size": 10})

CONSUMERS: dict[str, Consumer] = {
    consumer.name: consumer for consumer in (*OFFLINE, *MEMORY, *LIVE, *SNIFFERS)
}
# Against whom a row is compared over time: both ran in one session, so the machine's speed and
# what else it was doing cancel out.
REFERENCE = {
    "veth": PCAP_LOOP,
    "loopback": PCAP_LOOP,
    "savefile": PCAP_LOOP,
    "memory": MEMORY_FLOOR,
}
SLOWER = 1.15  # by less, two runs on one machine differ without a change


@dataclass(frozen=True)
class Ratio:
    """A row of the first table."""

    title: str
    medium: str
    one: Consumer
    other: Consumer
    aims: tuple[float, float]  # at 18 B and at 1400 B

    def aim(self, load: str) -> str:
        for payload, aim in zip((18, 1400), self.aims, strict=True):
            if f", {payload} B" in load:
                return f"{aim:g}"
        return ""


RATIOS = (
    Ratio("`for datagram in capture` / pypcap's iterator", "veth", VIEWS, PYPCAP, (0.5, 0.3)),
    Ratio("`for datagram in capture` / `recv_into`", "veth", VIEWS, RECV_INTO, (0.07, 0.08)),
    Ratio("batches and numpy / `pcap_loop` in C", "veth", RECORDS, PCAP_LOOP, (1.3, 0.8)),
    Ratio("batches, untouched / bare walk in C", "veth", BATCHES, RING_WALK, (2.0, 1.3)),
    Ratio(
        "`for datagram in open_savefile(...)` / pypcap's iterator",
        "savefile",
        FILE_VIEWS,
        FILE_PYPCAP,
        (0.5, 0.4),
    ),
    Ratio(
        "`for datagram in batch` / the same view again",
        "memory",
        MEMORY_BATCHES,
        MEMORY_FLOOR,
        (1.3, 1.3),
    ),
)


@dataclass
class Measured:
    results: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    surroundings: dict[str, str] = field(default_factory=dict)
    largest_load: dict[str, dict[str, float]] = field(default_factory=dict)
    flatness: dict[str, list[float]] = field(default_factory=dict)
    latency: dict[str, list[float]] = field(default_factory=dict)
    pauses: dict[str, list[Run]] = field(default_factory=dict)
    recorders: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    groups: dict[str, list[Run]] = field(default_factory=dict)  # by number of members, all in one

    def add(self, earlier: "Measured") -> None:
        """Take over what was not measured anew."""
        for name, parts in vars(earlier).items():
            setattr(self, name, parts | getattr(self, name))

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> "Measured":
        return cls(**json.loads(text, object_hook=_run_or_dict))


def _run_or_dict(members: dict) -> Run | dict:
    return Run(**members) if "cpu_ns" in members else members


def cost(runs: list[Run]) -> float:
    return median(run.cost for run in runs)


def spread(runs: list[Run]) -> str:
    costs = [run.cost for run in runs]
    return f"{number(min(costs))} to {number(max(costs))}"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    rule = tuple("---" if i == 0 else "---:" for i in range(len(header)))
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows)) + "\n"


def load_table(runs: dict[str, list[Run]]) -> str:
    rows = []
    for name, group in sorted(runs.items(), key=lambda item: cost(item[1])):
        title = CONSUMERS[name].title
        rows.append(
            (
                f"**{title}**" if CONSUMERS[name].ours else title,
                number(cost(group)),
                spread(group),
                f"{100 * sum(run.lost for run in group) / sum(run.sent for run in group):.1f} %",
            )
        )
    return table(("consumer", "CPU ns a datagram", "least to most", "lost"), rows)


def ratio_table(measured: Measured) -> str:
    rows = recorder_ratios(measured)
    for ratio in RATIOS:
        one, other = ratio.one.name, ratio.other.name
        for load, runs in measured.results.items():
            if not load.startswith(f"{ratio.medium},") or not {one, other} <= set(runs):
                continue
            if "k/s" in load:  # what a wait costs is shared by few datagrams
                continue
            # Of each round by itself: what disturbed a round disturbed both.
            values = [
                left.cost / right.cost for left, right in zip(runs[one], runs[other], strict=True)
            ]
            shown = f"{min(values):.2f} to {max(values):.2f}"
            rows.append((ratio.title, load, f"{median(values):.2f}", ratio.aim(load), shown))
    return table(("ratio", "load", "median", "aim", "least to most"), rows)


def bars(
    path: Path,
    title: str,
    unit: str,
    groups: dict[str, dict[str, float]],
    *,
    descending: bool = False,
) -> None:
    """One panel a group, one bar a consumer, in the order of the first group."""
    first = next(iter(groups.values()))
    names = sorted(first, key=first.__getitem__, reverse=descending)
    figure, (axes,) = pyplot.subplots(
        1,
        len(groups),
        figsize=(4 + 3.5 * len(groups), 1.2 + 0.36 * len(names)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, (group, values) in zip(axes, groups.items(), strict=True):
        axis.barh(
            [CONSUMERS[name].title for name in names],
            [values[name] for name in names],
            color=["#c4451c" if CONSUMERS[name].ours else "#9aa5b1" for name in names],
        )
        for i, name in enumerate(names):
            axis.text(values[name], i, f" {number(values[name])}", va="center", fontsize=9)
        axis.set_xscale("log")
        axis.set_title(group, fontsize=10)
        axis.set_xlabel(unit)
        axis.margins(x=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.suptitle(title, fontsize=12)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def live_text(measured: Measured, folder: Path) -> str:
    live = {load: runs for load, runs in measured.results.items() if load.startswith("veth")}
    full = {load: runs for load, runs in live.items() if "full speed" in load and "512" not in load}
    chosen = {
        load: {name: cost(group) for name, group in runs.items()}
        for load, runs in (full or live).items()
    }
    if not chosen:
        return ""
    bars(folder / "performance-cpu.svg", "CPU a datagram, less is better", "ns (log)", chosen)
    return "![CPU a datagram](performance-cpu.svg)\n\n"


def largest_load_text(measured: Measured, folder: Path) -> str:
    if not measured.largest_load:
        return ""
    bars(
        folder / "performance-load.svg",
        "Largest load without loss, more is better",
        "datagrams a second (log)",
        measured.largest_load,
        descending=True,
    )
    rows = [
        (
            CONSUMERS[name].title,
            *(
                number(group[name]) if name in group else ""
                for group in measured.largest_load.values()
            ),
        )
        for name in next(iter(measured.largest_load.values()))
    ]
    return (
        "## Largest load without loss\n\n"
        "Datagrams a second. Who takes all that the sender can make is limited by the sender.\n\n"
        "![Largest load without loss](performance-load.svg)\n\n"
        + table(("consumer", *measured.largest_load), rows)
        + "\n"
    )


def flatness_text(measured: Measured) -> str:
    if not measured.flatness:
        return ""
    rows = [
        (title, number(median(values)), f"{number(min(values))} to {number(max(values))}")
        for title, values in measured.flatness.items()
    ]
    return (
        "## Cost stays flat\n\n`for datagram in capture`, 18 B, 100 k/s.\n\n"
        + table(("what", "median", "least to most"), rows)
        + "\n"
    )


def latency_text(measured: Measured) -> str:
    if not measured.latency:
        return ""
    rows = []
    for option, delays in measured.latency.items():
        percentiles = quantiles(delays, n=100, method="inclusive")
        shown = (percentiles[49], percentiles[98], delays[-1])
        rows.append((f"`latency={option}`", *(f"{1000 * value:.2f}" for value in shown)))
    return (
        "## Latency at ten datagrams a second\n\n"
        "Milliseconds from the sending until the loop has the datagram.\n\n"
        + table(("option", "median", "99 %", "most"), rows)
        + "\n"
    )


def recorders_text(measured: Measured) -> str:
    if not measured.recorders:
        return ""
    titles = {recorder.name: recorder for recorder in RECORDERS}
    rows = []
    for load, runs in measured.recorders.items():
        for name, group in sorted(runs.items(), key=lambda item: cost(item[1])):
            title = titles[name].title
            lost = sum(run.lost for run in group) / sum(run.sent for run in group)
            rows.append(
                (
                    load,
                    f"**{title}**" if titles[name].ours else title,
                    number(cost(group)),
                    spread(group),
                    f"{100 * lost:.1f} %",
                )
            )
    return (
        "## To a file on disk\n\n"
        + table(("load", "program", "CPU ns a datagram written", "least to most", "lost"), rows)
        + "\n"
    )


def recorder_ratios(measured: Measured) -> list[tuple[str, ...]]:
    """Ours against the better of the others, of each round by itself."""
    rows = []
    for load, runs in measured.recorders.items():
        others = [runs[peer.name] for peer in RECORDERS if not peer.ours and peer.name in runs]
        for ours in (recorder for recorder in RECORDERS if recorder.ours):
            if not others or ours.name not in runs or "k/s" in load:
                continue
            values = [
                one.cost / min(run.cost for run in rest)
                for one, *rest in zip(runs[ours.name], *others, strict=True)
            ]
            aim = "0.25" if ", 18 B" in load else "0.2"
            shown = f"{min(values):.2f} to {max(values):.2f}"
            title = f"`{ours.title}` / the better of tcpdump and dumpcap"
            rows.append((title, load, f"{median(values):.2f}", aim, shown))
    return rows


def pauses_text(measured: Measured) -> str:
    if not measured.pauses:
        return ""
    rows = [
        (
            load,
            number(sum(run.sent for run in runs) / sum(run.seconds for run in runs)),
            number(sum(run.sent for run in runs)),
            number(sum(run.lost for run in runs)),
            number(sum(run.dropped for run in runs)),
        )
        for load, runs in measured.pauses.items()
    ]
    return (
        "## A program that pauses\n\n"
        "`for datagram in capture` with the default buffer, and 20 ms of something else every "
        "second.\n\n"
        + table(("load", "sent a second", "sent", "lost", "of them counted as dropped"), rows)
        + "\n"
    )


def groups_text(measured: Measured) -> str:
    if not measured.groups:
        return ""
    rows = [
        (
            count,
            number(median(run.received / run.seconds for run in runs)),
            f"{100 * median(run.lost / run.sent for run in runs):.1f} %",
        )
        for count, runs in measured.groups.items()
    ]
    return (
        "## Captures that share the load\n\n"
        "`Capture(..., fanout=1, buffer_size=4 * 2**20)` in so many processes, each of which "
        "dissects every datagram\nwith dpkt; 64 flows, full speed. The sender takes a processor as "
        "well.\n\n" + table(("processes", "dissected a second of load", "lost"), rows) + "\n"
    )


def write(measured: Measured, folder: Path) -> None:
    media = list(REFERENCE)
    loads = sorted(measured.results, key=lambda load: media.index(load.split(",")[0]))
    measured.results = {load: measured.results[load] for load in loads}
    rounds = max(
        (len(group) for runs in measured.results.values() for group in runs.values()), default=0
    )
    where = ", ".join(f"{name} {value}" for name, value in measured.surroundings.items())
    text = (
        "# What a datagram costs\n\n"
        "Written by `make bench`; [METHOD.md](../benchmarks/METHOD.md) says how it is measured.\n"
        f"Medians of {rounds} interleaved runs. On {where}.\n"
        "Figures of one machine; the ratios are what to look at.\n\n"
    )
    text += live_text(measured, folder)
    if measured.results or measured.recorders:
        text += "## Ratios\n\n" + ratio_table(measured) + "\n"
    for load, runs in measured.results.items():
        text += f"## {load[0].upper()}{load[1:]}\n\n{load_table(runs)}\n"
    text += recorders_text(measured) + largest_load_text(measured, folder)
    text += pauses_text(measured) + groups_text(measured)
    text += flatness_text(measured) + latency_text(measured)
    (folder / "performance.md").write_text(text.rstrip("\n") + "\n")


def summary(measured: Measured) -> dict[str, dict[str, float]]:
    """What a baseline keeps: each row's cost as a multiple of its reference's, by load."""
    found: dict[str, dict[str, float]] = {}
    for load, runs in measured.results.items():
        reference = REFERENCE[load.split(",")[0]]
        if reference.name in runs:
            against = cost(runs[reference.name])
            found[load] = {
                name: round(cost(group) / against, 3)
                for name, group in runs.items()
                if CONSUMERS[name].ours
            }
    return found


def comparison(now: dict[str, dict[str, float]], baseline: dict[str, dict[str, float]]) -> str:
    """What got slower since the baseline, as multiples of the reference of each load."""
    lines = [
        f"slower than the baseline: {load}: {name} {before:.2f} -> {after:.2f}"
        for load, rows in now.items()
        for name, after in rows.items()
        if (before := baseline.get(load, {}).get(name)) is not None and after > before * SLOWER
    ]
    return "\n".join(lines) or "nothing is slower than the baseline"
