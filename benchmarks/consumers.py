"""Who is measured: names as the tables show them, and the command that each of them is."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

CONSUME = Path(__file__).parent / "consume.py"


@dataclass(frozen=True)
class Consumer:
    name: str  # of a function in consume.py, or of a program in C
    title: str
    ours: bool = False
    in_c: bool = False
    module: str = ""  # of a peer that may not be installed
    slow: bool = False  # it needs 100 us a datagram, and works off a full buffer for 15 seconds

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
    Consumer("scapy", "scapy, sniff(store=False)", module="scapy", slow=True),
)
# At a load that scapy can follow.
SNIFFERS = (
    Consumer("scapy", "scapy, sniff(store=False)", module="scapy"),
    Consumer("scapy_winsockctl", "winsockctl: scapy sniffs through it", ours=True, module="scapy"),
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
    FileConsumer("file_scapy", "scapy, PcapReader", module="scapy", slow=True),
)
MEMORY = (
    MEMORY_FLOOR,
    MEMORY_BATCHES,
    FileConsumer("memory_views", "winsockctl: for datagram in Replay(...)", ours=True),
)
