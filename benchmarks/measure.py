"""Runs one consumer under one load, on a network of two namespaces, and says what it cost."""

import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.consumers import Consumer
from benchmarks.effort import Load
from benchmarks.recorders import Recorder, Recording

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import network  # the tests' own namespaces

PATIENCE = 120  # seconds for a consumer to work off what it was sent
PORT = 9
# Nobody's address (RFC 5737), so that what was captured goes nowhere and nobody answers it.
NOBODY = "203.0.113.1"


@dataclass(frozen=True)
class Run:
    """What one consumer did with one load."""

    sent: int
    seconds: float
    received: int
    dropped: int  # as the consumer says; -1 if it cannot tell
    cpu_ns: int
    errors: str  # what it wrote to standard error
    overrun: int = 0  # meanwhile lost on the machine in front of any capture

    @property
    def cost(self) -> float:
        """Nanoseconds of CPU time a datagram."""
        return self.cpu_ns / max(self.received, 1)

    @property
    def lost(self) -> int:
        return self.sent - self.received

    @property
    def adds_up(self) -> bool:
        """Whether received and dropped are what came to the interface."""
        return self.sent - self.overrun <= self.received + self.dropped <= self.sent


def backlog_drops() -> int:
    """Packets that found no room in the queue of a processor, of the whole machine (dev.c)."""
    with open("/proc/net/softnet_stat") as file:
        return sum(int(line.split()[1], 16) for line in file)


class Bench:
    """The programs, and two hosts on a cable: the sender's end and the consumer's."""

    def __init__(
        self, programs: dict[str, Path], sender: network.Port, receiver: network.Port
    ) -> None:
        self._programs = programs
        self._sender = sender
        self._receiver = receiver
        # The load and its reader must not share a processor if there are two.
        self._processors = sorted(os.sched_getaffinity(0))
        self._reading_on = self._processors[-1]

    def run(self, consumer: Consumer, load: Load, *options: str, seconds: float) -> Run:
        """One consumer, on a processor of its own if there is one."""
        (run,) = self._run([(self._reading_on, consumer)], load, *options, seconds=seconds)
        return run

    def run_group(
        self, consumer: Consumer, count: int, load: Load, *options: str, seconds: float
    ) -> list[Run]:
        """Several of the same, which share the load; on any processor."""
        return self._run([(None, consumer)] * count, load, *options, seconds=seconds)

    def _run(
        self,
        consumers: list[tuple[int | None, Consumer]],
        load: Load,
        *options: str,
        seconds: float,
    ) -> list[Run]:
        interface = "lo" if load.medium == "loopback" else self._receiver.name
        with contextlib.ExitStack() as stack:
            with self._receiver.host:
                readings = [
                    stack.enter_context(
                        self._start(
                            processor, consumer.command(self._programs, interface, *options)
                        )
                    )
                    for processor, consumer in consumers
                ]
            for reading in readings:
                self._wait_until_ready(reading)
            with self._sent(load, seconds) as made:
                return [self._result(reading, **made) for reading in readings]

    @contextlib.contextmanager
    def _sent(self, load: Load, seconds: float) -> Iterator[dict[str, float]]:
        """What the generator sent; end marks follow meanwhile."""
        before = backlog_drops()
        loopback = load.medium == "loopback"
        target = "127.0.0.1" if loopback else NOBODY
        numbers = (PORT, load.payload, load.rate / load.senders, seconds, load.flows)
        command = [str(self._programs["generator"]), target, *map(str, numbers)]
        with contextlib.ExitStack() as stack:
            with self._receiver.host if loopback else self._sender.host:
                sending = [
                    stack.enter_context(
                        self._start(self._processors[number % len(self._processors)], command)
                    )
                    for number in range(load.senders)
                ]
            try:
                made = [json.loads(each.stdout.readline()) for each in sending]
                sending[0].stdin.write("\n")  # it may send end marks: the others are done
                sending[0].stdin.flush()
                yield {
                    "sent": sum(each["sent"] for each in made),
                    "seconds": max(each["seconds"] for each in made),
                    "overrun": backlog_drops() - before,
                }
            finally:
                for each in sending:
                    each.communicate()

    def run_recorder(self, recorder: Recorder, path: Path, load: Load, *, seconds: float) -> Run:
        """A program that writes what it captures to a file."""
        command = recorder.command(self._receiver.name, path)
        with self._receiver.host:
            process = self._start(self._reading_on, command)
        with process:
            recording = Recording(recorder, process)
            with self._sent(load, seconds) as made:
                pass
            return Run(errors="", **made, **recording.end())

    def run_offline(self, consumer: Consumer, path: Path, count: int) -> Run:
        with self._start(self._reading_on, consumer.command(self._programs, str(path))) as reading:
            self._wait_until_ready(reading)
            return self._result(reading, sent=count, seconds=0)

    @staticmethod
    def _start(processor: int | None, command: list[str]) -> subprocess.Popen:
        where = [] if processor is None else ["taskset", "-c", str(processor)]
        return subprocess.Popen(
            [*where, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def _wait_until_ready(reading: subprocess.Popen) -> None:
        if reading.stdout.readline() != "ready\n":
            raise RuntimeError(f"{reading.args}: {reading.stderr.read()}")

    @staticmethod
    def _result(reading: subprocess.Popen, **made: float) -> Run:
        timer = threading.Timer(PATIENCE, reading.kill)
        timer.start()
        try:
            result, errors = reading.stdout.read(), reading.stderr.read()
        finally:
            timer.cancel()
        if reading.wait() != 0:
            raise RuntimeError(f"{reading.args}: {errors}")
        return Run(errors=errors, **made, **json.loads(result))


@contextlib.contextmanager
def bench(programs: dict[str, Path]) -> Iterator[Bench]:
    missing = network.prepare_process()
    if missing:
        pytest.fail(f"benchmarks need {missing}", pytrace=False)
    with network.pair() as (receiver, sender):
        sender.host.ip(f"route add {NOBODY}/32 via {receiver.ipv4}")
        receiver.host.ip(f"route add blackhole {NOBODY}/32", "link set lo gso_max_segs 1")
        yield Bench(programs, sender, receiver)


def write_savefile(path: Path, payload: int, count: int) -> None:
    """UDP datagrams in Ethernet frames, in a pcap file that every peer reads."""
    length = 28 + payload
    frame = (
        bytes(12)
        + struct.pack("!HBBHHHBBH", 0x0800, 0x45, 0, length, 0, 0, 64, 17, 0)
        + bytes([192, 0, 2, 2, 203, 0, 113, 1])
        + struct.pack("!HHHH", PORT, PORT, 8 + payload, 0)
        + bytes(payload)
    )
    with open(path, "wb") as file:
        file.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number in range(count):
            stamp = (1_700_000_000 + number // 10**6, number % 10**6)
            file.write(struct.pack("=IIII", *stamp, len(frame), len(frame)) + frame)
