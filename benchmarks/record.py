"""One recorder, a program of its own that writes a savefile: what it took, and what it cost.

    python record.py NAME INTERFACE FOLDER

Speaks as consume.py does. CPU time is that of all threads of the program from the moment it
captures until it has nothing more to do; its file is counted afterwards.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from winsockctl import Capture, open_savefile

BUFFER_SIZE = 64  # MiB
END = "ip proto 253"  # the generator's end mark
IDLE = 0.5  # seconds in which a program that is through costs next to nothing
IDLE_NS = 5_000_000
PATIENCE = 60  # seconds

COMMANDS = {
    "recorder": (
        *(sys.executable, "-m", "winsockctl", "capture", "{interface}", "udp"),
        *("-w", "{path}", "--buffer-size", str(BUFFER_SIZE)),
    ),
    "tcpdump": (
        *("tcpdump", "-i", "{interface}", "-Z", "root", "-B", str(BUFFER_SIZE * 1024)),
        *("-w", "{path}", "udp"),
    ),
    "dumpcap": (
        *("dumpcap", "-q", "-i", "{interface}", "-B", str(BUFFER_SIZE)),
        *("-w", "{path}", "-f", "udp"),
    ),
}
READY = {"recorder": "capturing on ", "tcpdump": "listening on ", "dumpcap": "File: "}


def cpu_ns(process: subprocess.Popen) -> int:
    """Time on a processor of all its threads, from /proc/PID/task/TID/schedstat (proc(5))."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def wait_until_idle(process: subprocess.Popen) -> int:
    deadline = time.monotonic() + PATIENCE
    cost = cpu_ns(process)
    while time.monotonic() < deadline:
        time.sleep(IDLE)
        before, cost = cost, cpu_ns(process)
        if cost - before < IDLE_NS:
            return cost
    raise TimeoutError(f"{process.args} does not come to an end")


def main() -> None:
    name, interface, folder = sys.argv[1:]
    path = Path(folder, f"{name}.pcapng")
    command = [part.format(interface=interface, path=path) for part in COMMANDS[name]]
    with Capture(interface, filter=END, buffer_size=2**20) as capture:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if READY[name] in line:
                break
        began = cpu_ns(process)
        print("ready", flush=True)
        capture.read()
    cost = wait_until_idle(process) - began
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]
    if process.returncode != 0:
        sys.exit(f"{command}: {errors}")
    with open_savefile(path) as savefile:
        received = sum(map(len, savefile.batches()))
        dropped = savefile.statistics.dropped
    path.unlink()
    print(errors, file=sys.stderr)
    print(
        json.dumps(
            {"cpu_ns": cost, "received": received, "dropped": -1 if dropped is None else dropped}
        )
    )


if __name__ == "__main__":
    main()
