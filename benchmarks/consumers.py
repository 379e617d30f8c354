"""Who is measured: names as the tables show them, and the command that each of them is."""

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

CONSUME = Path(__file__).parent / "consume.py"
RECORD = Path(__file__).parent / "record.py"


@dataclass(frozen=True)
class Consumer:
    name: str  # of a function in consume.py, or of a program in C
    title: str
    ours: bool = False
    in_c: bool = False
    module: str = ""  # of a peer that may not be installed
    most_rounds: int = 1000  # less for who needs 100 us a datagram and fills its buffer each time

    def __str__(self) -> str:
        return self.name

    def missing(self) -> str:
        """Why it cannot be measured here; empty if it can."""
        if self.module and importlib.util.find_spec(self.module) is None:
            return f"{self.title.split(',')[0]} is not installed"
        return ""

    def command(self, programs: dict[str, Path], source: str, *options: str) -> list[str]:
        if self.in_c:
            return [str(programs[self.name]), source]
        return [sys.executable, str(CONSUME), self.name, source, *options]


VIEWS = Consumer("views", "winsockctl: for datagram in capture", ours=True)
RECORDS = Consumer("records", "winsockctl: batches and numpy", ours=True)
BATCHES = Consumer("batches", "winsockctl: batches, datagrams untouched", ours=True)
PYPCAP = Consumer("pypcap", "pypcap, iterator", module="pcap")
RECV_INTO = Consumer("recv_into", "standard library, recv_into")
PCAP_LOOP = Consumer("pcap_loop", "libpcap in C, pcap_loop", in_c=True)
RING_WALK = Consumer("ring_walk", "bare walk over a ring in C (the limit)", in_c=True)

LIVE = (
    RING_WALK,
    BATCHES,
    PCAP_LOOP,
    RECORDS,
    VIEWS,
    Consumer("pcapy_ng_batch", "pcapy-ng, next_batch and numpy", module="pcapy"),
    PYPCAP,
    Consumer("pcapy_ng", "pcapy-ng, next", module="pcapy"),
    RECV_INTO,
    Consumer("recvfrom", "standard library, recvfrom"),
    Consumer("scapy", "scapy, sniff(store=False)", module="scapy", most_rounds=2),
)


@dataclass(frozen=True)
class FileConsumer(Consumer):
    def command(self, programs: dict[str, Path], source: str, *options: str) -> list[str]:
        if self.in_c:
            return [str(programs[self.name]), "-r", source]
        return super().command(programs, source, *options)


FILE_VIEWS = FileConsumer("file_views", "winsockctl: for datagram in open_savefile(...)", ours=True)
FILE_PYPCAP = FileConsumer("file_pypcap", "pypcap, iterator", module="pcap")
MEMORY_BATCHES = FileConsumer("memory_batches", "winsockctl: for datagram in batch", ours=True)
MEMORY_FLOOR = FileConsumer("memory_floor", "a loop that yields one and the same view (the floor)")

OFFLINE = (
    FileConsumer("pcap_loop", "libpcap in C, pcap_loop", in_c=True),
    FILE_VIEWS,
    FILE_PYPCAP,
    FileConsumer("file_pcapy_ng", "pcapy-ng, next", module="pcapy"),
    FileConsumer("file_dpkt", "dpkt, pcap.Reader"),
    FileConsumer("file_scapy_raw", "scapy, RawPcapReader", module="scapy"),
    FileConsumer("file_scapy", "scapy, PcapReader", module="scapy", most_rounds=2),
)
MEMORY = (
    MEMORY_FLOOR,
    MEMORY_BATCHES,
    FileConsumer("memory_views", "winsockctl: for datagram in Replay(...)", ours=True),
)


@dataclass(frozen=True)
class Recording(Consumer):
    """A program that writes a savefile into the folder that is its option."""

    def missing(self) -> str:
        if not self.ours and shutil.which(self.name) is None:
            return f"{self.name} is not installed"
        return ""

    def command(self, programs: dict[str, Path], source: str, *options: str) -> list[str]:
        return [sys.executable, str(RECORD), self.name, source, *options]


RECORDER = Recording("recorder", "winsockctl capture -w", ours=True)
TCPDUMP = Recording("tcpdump", "tcpdump -w")
DUMPCAP = Recording("dumpcap", "dumpcap -w")

RECORDING = (RECORDER, TCPDUMP, DUMPCAP)
