"""Which datagrams are those of a process: matched by the sockets that it has open."""

from __future__ import annotations

import ipaddress
import socket
import time
from typing import TYPE_CHECKING, Any

from winsockctl import Replay
from winsockctl.cli.counts import conversation_key
from winsockctl.cli.errors import CommandError

try:
    import psutil
except ModuleNotFoundError:
    psutil = None

if TYPE_CHECKING:
    from collections.abc import Iterator

    from winsockctl import Batch

_PROTOCOLS = {socket.SOCK_STREAM: 6, socket.SOCK_DGRAM: 17}
_REFRESH_INTERVAL = 0.5  # seconds
# A closed socket's last datagrams, such as a FIN's acknowledgement, still come.
_REMEMBER = 10.0  # seconds
# At most a fifth of the time goes into looking at sockets.
_REST = 4
_ANY = {4: bytes(4), 16: bytes(16)}


class Process:
    """The datagrams of a process, or of all processes of a name, with the sockets that they have.

    Their sockets are looked at again and again, at once when a conversation is new. What lives for
    less time than that, datagrams without ports (ICMP, later fragments), and those of children are
    not found.

    Args:
        wanted: the number of a process, or a name, with or without ``.exe``.

    Raises:
        CommandError: without psutil, for a number that no process has, or if nobody may know.
    """

    def __init__(self, wanted: str) -> None:
        if psutil is None:
            raise CommandError("--process needs psutil: pip install 'winsockctl[cli]'")
        self._name = wanted.lower().removesuffix(".exe")
        self._process = _process(int(wanted)) if wanted.isascii() and wanted.isdecimal() else None
        # Until when each is remembered, on the clock of time.monotonic().
        self._connected: dict[bytes, float] = {}
        self._bound: dict[tuple[int, bytes, bytes], float] = {}
        self._local: set[bytes] = set()
        self._verdicts: dict[bytes, bool] = {}
        self._next_look = self._next_refresh = 0.0
        running, denied = self._refresh()
        if denied and not running:
            raise CommandError(
                f"the sockets of process {denied[0]} are another user's: only root (Windows: an "
                "administrator) may look at them"
            )
        self.running = bool(running)
        """Whether there was such a process at first."""

    def select(self, batch: Batch) -> Batch:
        """Return the datagrams of a batch that are the process's."""
        if time.monotonic() >= self._next_refresh:
            self._refresh()
        keys = [conversation_key(datagram, ports=True) for datagram in batch.datagrams()]
        if not self._verdicts.keys() >= set(keys):
            # Meanwhile the buffer takes what comes.
            time.sleep(max(self._next_look - time.monotonic(), 0))
            self._refresh()
        owned = [self._owns(key) for key in keys]
        if all(owned):
            return batch
        wanted = [each for each, ours in zip(batch.datagrams(), owned, strict=True) if ours]
        with Replay(wanted, batch_size=max(len(wanted), 1)) as replay:
            return replay.read(0)

    def _owns(self, key: bytes | None) -> bool:
        if key is None:
            return False
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = key in self._connected or self._is_bound(key)
        return verdict

    def _is_bound(self, key: bytes) -> bool:
        protocol, half = key[0], 1 + len(key) // 2
        for end in (key[1:half], key[half:]):
            address, port = end[:-2], end[-2:]
            # Sockets of IPv6 that are bound to no address take IPv4, too.
            anywhere = (_ANY[len(address)], _ANY[16])
            if any((protocol, bound, port) in self._bound for bound in (address, *anywhere)) and (
                address in self._local or _is_multicast(address)
            ):
                return True
        return False

    def _refresh(self) -> tuple[list[int], list[int]]:
        """Look at the sockets; return whose were seen, and whose nobody may see."""
        begin = time.monotonic()
        self._local = _local_addresses()
        seen, denied = [], []
        for process in self._processes():
            try:
                for connection in process.net_connections("inet"):
                    self._add(connection, begin + _REMEMBER)
                seen.append(process.pid)
            except psutil.AccessDenied:
                denied.append(process.pid)
            except psutil.NoSuchProcess:
                pass
        self._connected = {key: end for key, end in self._connected.items() if end >= begin}
        self._bound = {key: end for key, end in self._bound.items() if end >= begin}
        self._verdicts.clear()
        now = time.monotonic()
        self._next_look = now + _REST * (now - begin)
        self._next_refresh = max(now + _REFRESH_INTERVAL, self._next_look)
        return seen, denied

    def _processes(self) -> Iterator[Any]:
        if self._process is not None:
            # Its number may be another one's by now.
            if self._process.is_running():
                yield self._process
            return
        for process in psutil.process_iter(["name"]):
            name = process.info["name"] or ""
            if name.lower().removesuffix(".exe") == self._name:
                yield process

    def _add(self, connection: Any, until: float) -> None:
        protocol = _PROTOCOLS[connection.type]
        local = _packed(connection.laddr.ip)
        port = connection.laddr.port.to_bytes(2, "big")
        if not connection.raddr:
            self._bound[protocol, local, port] = until
            return
        remote = _packed(connection.raddr.ip) + connection.raddr.port.to_bytes(2, "big")
        self._connected[bytes([protocol]) + b"".join(sorted((local + port, remote)))] = until


def _process(number: int) -> Any:
    try:
        return psutil.Process(number)
    except psutil.NoSuchProcess:
        raise CommandError(f"there is no process {number}") from None


def _local_addresses() -> set[bytes]:
    """The addresses of this machine, and those to which a broadcast reaches it."""
    found = {bytes([255] * 4)}
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if entry.family in (socket.AF_INET, socket.AF_INET6):
                found.add(_packed(entry.address))
            if entry.family == socket.AF_INET and entry.netmask:
                network = ipaddress.IPv4Interface((entry.address, entry.netmask)).network
                found.add(network.broadcast_address.packed)
    return found


def _is_multicast(address: bytes) -> bool:
    return address[0] >> 4 == 14 if len(address) == 4 else address[0] == 255


def _packed(text: str) -> bytes:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped.packed
    return address.packed
