"""A raw socket that captures loopback, and a sender whose datagrams it can tell from all others."""

import socket
import struct
from collections.abc import Iterator

from datagrams import seeded_payload
from network import PATIENCE

from winsockctl import Batch, RawSocket, RcvAll, set_rcvall

HEADERS = 28
MIB = 2**20


class Loopback:
    """UDP datagrams with numbered, seeded payloads over 127.0.0.1, and their capture."""

    def __init__(self, backend: str, *, buffer_size: int = MIB, latency: float = 0.001) -> None:
        self.raw = RawSocket(
            socket.AF_INET, backend=backend, buffer_size=buffer_size, latency=latency
        )
        # It never reads: what does not fit into it is dropped behind the capture.
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("127.0.0.1", 0))
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.connect(self.receiver.getsockname())
        self.port = struct.pack("!H", self.receiver.getsockname()[1])
        self.sent = 0
        self.raw.bind("127.0.0.1")
        set_rcvall(self.raw, RcvAll.IPLEVEL)

    def __enter__(self) -> "Loopback":
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()
        self.sender.close()
        self.receiver.close()

    def exchange(self, count: int, length: int) -> Iterator[Batch]:
        """Send ``count`` datagrams with ``length`` bytes of payload; yield batches until all came.

        However slowly the machine runs this, nothing may get lost: no more is under way than a
        ring of eight blocks takes if each datagram has a block of its own.
        """
        missing = count
        for number in range(count):
            self.sender.send(seeded_payload(self.sent, length))
            self.sent += 1
            while number % 4 == 3 and (batch := self.raw.receive(0)):
                missing -= len(self.ours(batch))
                yield batch
        while missing > 0:
            batch = self.raw.receive(PATIENCE)
            assert batch, f"{missing} of {count} datagrams did not come"
            missing -= len(self.ours(batch))
            yield batch
        assert missing == 0

    def is_ours(self, view: memoryview) -> bool:
        """Whether this sender has sent the datagram."""
        return view[9] == socket.IPPROTO_UDP and view[22:24] == self.port

    def ours(self, batch: Batch) -> list[memoryview]:
        """Return the views of the datagrams that this sender has sent."""
        return [view for view in batch if self.is_ours(view)]


def index_of(view: memoryview) -> int:
    """Return which datagram it is, by the number in its payload."""
    return int.from_bytes(view[HEADERS : HEADERS + 4])


def is_intact(view: memoryview) -> bool:
    """Whether every byte of the payload is what was sent."""
    return view[HEADERS:] == seeded_payload(index_of(view), len(view) - HEADERS)
