"""Programs that write what passes an interface to a file on disk: ours, tcpdump and dumpcap."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BUFFER_MIB = 64  # what every one of them is given between the system and the program
QUIET = 0.5  # seconds without work: it has written all that came
HOUSEKEEPING_NS = 10**7  # what it may take in that time to look after signals and the clock
PATIENCE = 60.0  # seconds for that


@dataclass(frozen=True)
class Recorder:
    name: str
    title: str
    command: Callable[[str, Path], list[str]]  # of interface and file
    ready: str  # how the line on standard error begins that says so
    counts: tuple[str, str]  # where it tells what it received, and what was dropped
    ours: bool = False

    def __str__(self) -> str:
        return self.name

    def missing(self) -> str:
        """Why it cannot be measured here; empty if it can."""
        return "" if self.ours or shutil.which(self.name) else f"{self.name} is not installed"


def _ours(format: str, title: str) -> Recorder:
    return Recorder(
        f"winsockctl-{format}",
        title,
        lambda interface, path: [
            *(sys.executable, "-m", "winsockctl", "capture", interface, "udp"),
            *("--buffer-size", str(BUFFER_MIB), "--format", format, "-w", str(path)),
        ],
        "capturing on",
        (r"(\d+) received", r"(\d+) dropped"),
        ours=True,
    )


RECORDERS = (
    _ours("pcapng", "winsockctl capture -w"),
    _ours("pcap", "winsockctl capture -w --format pcap"),
    Recorder(
        "tcpdump",
        "tcpdump -w",
        lambda interface, path: [
            *("tcpdump", "-i", interface, "-n", "-B", str(BUFFER_MIB * 1024)),
            # As root it would become another user, who may not write here.
            *(("-Z", "root") if os.geteuid() == 0 else ()),
            *("-w", str(path), "udp"),
        ],
        "tcpdump: listening on",
        (r"(\d+) packets? captured", r"(\d+) packets? dropped by kernel"),
    ),
    Recorder(
        "dumpcap",
        "dumpcap -w",
        lambda interface, path: [
            *("dumpcap", "-i", interface, "-B", str(BUFFER_MIB), "-q", "-f", "udp"),
            *("-w", str(path)),
        ],
        "File: ",
        (
            r"received/dropped on .*: (\d+)/",
            r"received/dropped on .*: \d+/(\d+)",
        ),
    ),
)


class Recording:
    """A recorder at work; its CPU time counts from now on until it has nothing more to do."""

    def __init__(self, recorder: Recorder, process: subprocess.Popen) -> None:
        self._recorder = recorder
        self._process = process
        said = ""
        while not said.startswith(recorder.ready):
            said = process.stderr.readline()
            if not said:
                raise RuntimeError(f"{recorder.name} did not begin to record")
        self._used_before = self._used()

    def _used(self) -> int:
        """Nanoseconds of CPU time of all its threads so far (proc(5), schedstat)."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())

    def end(self) -> dict[str, int]:
        """Let it work off what came, end it; what it received and dropped, and its CPU time."""
        deadline = time.monotonic() + PATIENCE
        before, now = -1, self._used()
        while now - before > HOUSEKEEPING_NS and time.monotonic() < deadline:
            time.sleep(QUIET)
            before, now = now, self._used()
        self._process.send_signal(2)
        said = self._process.stderr.read()
        counts = [re.search(pattern, said) for pattern in self._recorder.counts]
        if self._process.wait() != 0 or None in counts:
            raise RuntimeError(f"{self._recorder.name} failed: {said}")
        received, dropped = (int(count.group(1)) for count in counts)
        return {"received": received, "dropped": dropped, "cpu_ns": now - self._used_before}
