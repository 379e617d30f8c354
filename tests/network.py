"""Small real networks for the tests: hosts, cables, a bridge, a router, and frames to send on them.

A host is a network namespace that is held by a descriptor alone. It has no name and no mount, so
nothing is left behind: namespace, interfaces and routes go when the last descriptor and the last
socket in it are closed.
"""

import ctypes
import errno
import itertools
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from winsockctl import Datagram, RawSocket

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
BROADCAST = b"\xff" * 6

# Seconds within which something that must happen has to happen, on however slow a machine.
PATIENCE = 20.0

CAP_NET_ADMIN = 12
CAP_NET_RAW = 13


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true within the time that a slow machine may take."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if hasattr(os, "setns"):  # CPython 3.12
    from os import setns, unshare
else:

    def setns(fd: int, nstype: int = 0) -> None:
        _checked(_libc.setns(fd, nstype))

    def unshare(flags: int) -> None:
        _checked(_libc.unshare(flags))


# ---------------------------------------------------------------------------------------------
# Tools of the system


def tool(name: str) -> str | None:
    """Where a program of the system is; PATH of an ordinary user often lacks the sbin folders."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def tool_environment() -> dict[str, str]:
    """The environment for programs that are not under test: without the sanitizer's library."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | {
        "LC_ALL": "C"
    }


def _run_ip(arguments: Sequence[str], *, script: str = "", descriptors: Iterable[int] = ()) -> str:
    command = [tool("ip") or "ip", *arguments]
    done = subprocess.run(
        command,
        input=script,
        capture_output=True,
        text=True,
        env=tool_environment(),
        pass_fds=tuple(descriptors),
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{script}")
    return done.stdout


def drop_capabilities(*capabilities: int) -> None:
    """Take capabilities away from this process and the programs that it turns into (exec)."""
    pr_capbset_drop = 24
    for capability in capabilities:
        _checked(_libc.prctl(pr_capbset_drop, capability, 0, 0, 0))


# ---------------------------------------------------------------------------------------------
# The right to make networks


def enter_private_namespaces() -> None:
    """Move the process into a user and a network namespace of its own, where it is root.

    Only a process with a single thread may do that (unshare(2)).
    """
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {user} 1"),
        ("gid_map", f"0 {group} 1"),
    ):
        Path("/proc/self", name).write_text(text)
    _run_ip(["link", "set", "lo", "up"])


def _error_in_child(action: Callable[[], object]) -> int:
    """The errno with which an action fails in a child process, 0 if it does not fail."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except OSError as error:
            os._exit(error.errno or errno.EIO)
        except BaseException:
            os._exit(errno.EIO)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def prepare_process() -> str:
    """Give this process the right to make networks; what is missing for it, empty if nothing is.

    Root has the right already. Anybody else gets it in private namespaces, tried in a child
    first, because a process that got only half the way could not go back.
    """
    if sys.platform != "linux":
        return "the network namespaces of Linux"
    if tool("ip") is None:
        return "the program 'ip' (package iproute2) is missing"
    if _error_in_child(lambda: unshare(CLONE_NEWNET)) == 0:
        return ""
    error = _error_in_child(enter_private_namespaces)
    if error != 0:
        return (
            "CAP_SYS_ADMIN is missing, and this system does not let an ordinary user make a user "
            f"and network namespace ({os.strerror(error)})"
        )
    enter_private_namespaces()
    return ""


# ---------------------------------------------------------------------------------------------
# Hosts


class _Previous(threading.local):
    """The namespaces that a thread will return to."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []


def _open_current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _make_namespace() -> int:
    unshare(CLONE_NEWNET)
    return _open_current()


class Namespace:
    """A network namespace. What a thread opens or starts inside ``with namespace:`` belongs to it.

    Any number of threads may be inside, each with its own way back, and a thread may enter again.
    """

    def __init__(self) -> None:
        self._previous = _Previous()
        # unshare(2) moves the calling thread, so a thread is spent on each namespace.
        with ThreadPoolExecutor(max_workers=1) as executor:
            self.descriptor = executor.submit(_make_namespace).result()
        self.ip("link set lo up")

    def __enter__(self) -> Self:
        previous = _open_current()
        try:
            setns(self.descriptor, CLONE_NEWNET)
        except OSError:
            os.close(previous)
            raise
        self._previous.descriptors.append(previous)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        previous = self._previous.descriptors.pop()
        setns(previous, CLONE_NEWNET)
        os.close(previous)

    def close(self) -> None:
        os.close(self.descriptor)

    def ip(self, *commands: str, other: "Namespace | None" = None) -> None:
        """Run commands of ip(8) in here; ``{other}`` in them stands for the other namespace."""
        descriptors = () if other is None else (other.descriptor,)
        script = "\n".join(commands) + "\n"
        if other is not None:
            script = script.replace("{other}", f"/proc/self/fd/{other.descriptor}")
        with self:
            _run_ip(["-batch", "-"], script=script, descriptors=descriptors)

    def describe(self, *arguments: str) -> list[dict[str, Any]]:
        """What ip(8) says of links or addresses in here, with every detail."""
        with self:
            entries: list[dict[str, Any]] = json.loads(_run_ip(["-json", "-details", *arguments]))
        return entries

    def promiscuity(self, name: str) -> int:
        """How many users of an interface ask for its promiscuous mode."""
        count: int = self.describe("link", "show", "dev", name)[0]["promiscuity"]
        return count

    def sysctl(self, name: str, value: int) -> None:
        with self:
            Path("/proc/sys/net", name).write_text(str(value))


@dataclass(frozen=True)
class Port:
    """One end of a cable: an interface of a host, with what others know it by."""

    host: Namespace
    name: str
    index: int
    mac: bytes
    ipv4: str = ""
    ipv6: str = ""

    def address(self, family: int) -> str:
        return self.ipv4 if family == socket.AF_INET else self.ipv6

    def udp(self, family: int = socket.AF_INET) -> socket.socket:
        """A UDP socket that is bound to the address of this port."""
        with self.host:
            udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.settimeout(PATIENCE)
        udp.bind((self.address(family), 0))
        return udp

    def send_frames(self, frames: Iterable[bytes]) -> None:
        """Put Ethernet frames on the cable as they are."""
        with self.host, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packet:
            packet.bind((self.name, 0))
            for frame in frames:
                packet.send(frame)

    def send_datagrams(self, receiver: "Port", datagrams: Iterable[bytes]) -> None:
        """Put IP datagrams on the cable as they are, in frames for the receiver."""
        self.send_frames(
            ethernet(receiver.mac, self.mac, ethertype_of(datagram), datagram)
            for datagram in datagrams
        )

    def promiscuity(self) -> int:
        return self.host.promiscuity(self.name)


_station_numbers = itertools.count(1)


def _cable(left: Namespace, left_name: str, right: Namespace, right_name: str) -> tuple[Port, Port]:
    """Join two hosts by a cable (veth) with as little noise on it as possible."""
    # 02: a locally administered address
    left_mac, right_mac = (b"\x02" + next(_station_numbers).to_bytes(5, "big") for _ in "lr")
    left.ip(
        f"link add {left_name} address {left_mac.hex(':')} type veth "
        f"peer name {right_name} address {right_mac.hex(':')} netns {{other}}",
        other=right,
    )
    ports = []
    for host, name, mac in ((left, left_name, left_mac), (right, right_name, right_mac)):
        # One segment a time: TCP would hand 64 KiB superpackets through a veth, which never
        # exist on a real cable. No link-local address, so no router solicitations.
        host.ip(f"link set {name} addrgenmode none gso_max_segs 1 up")
        # Milliseconds: a joined multicast group is told at once and, in the time of a test, not
        # once more.
        host.sysctl(f"ipv6/conf/{name}/mldv2_unsolicited_report_interval", 3_600_000)
        with host:
            ports.append(Port(host, name, socket.if_nametoindex(name), mac))
    return ports[0], ports[1]


def _number(port: Port, network: int, station: int) -> Port:
    """Give a port its addresses, in the documentation networks (RFC 5737, RFC 3849)."""
    ipv4 = ("192.0.2.", "198.51.100.", "203.0.113.")[network] + str(station)
    ipv6 = f"2001:db8:{network}::{station}"
    port.host.ip(
        f"addr add {ipv4}/24 broadcast + dev {port.name}",
        f"addr add {ipv6}/64 dev {port.name} nodad",
    )
    return Port(port.host, port.name, port.index, port.mac, ipv4, ipv6)


def _wait_for_multicast_report(port: Port) -> None:
    """Let a host tell the group that its new IPv6 address belongs to, before any test listens."""
    deadline = time.monotonic() + PATIENCE
    with port.host:
        counters = Path("/proc/thread-self/net/dev_snmp6", port.name)
        while not re.search(r"^Icmp6OutMLDv2Reports\s+[1-9]", counters.read_text(), re.MULTILINE):
            if time.monotonic() > deadline:
                raise RuntimeError("the host does not report its multicast group")
            time.sleep(0.002)


def _introduce(*ports: Port) -> None:
    """Make the ports of a network neighbours for ever: nobody has to ask, and all is quiet."""
    for port in ports:
        port.host.ip(
            *(
                f"neigh replace {address} lladdr {other.mac.hex(':')} dev {port.name} nud permanent"
                for other in ports
                if other is not port
                for address in (other.ipv4, other.ipv6)
            )
        )
    for port in ports:
        _wait_for_multicast_report(port)


@contextmanager
def _hosts(count: int) -> Iterator[list[Namespace]]:
    with ExitStack() as stack:
        hosts = []
        for _ in range(count):
            hosts.append(Namespace())
            stack.callback(hosts[-1].close)
        yield hosts


@contextmanager
def pair() -> Iterator[tuple[Port, Port]]:
    """Two hosts on one cable."""
    with _hosts(2) as (left_host, right_host):
        left, right = _cable(left_host, "eth0", right_host, "eth0")
        left, right = _number(left, 0, 1), _number(right, 0, 2)
        _introduce(left, right)
        yield left, right


def imaginary_pair() -> tuple[Port, Port]:
    """The ports of a pair that nobody has made: for what needs their names only."""
    host = cast(Namespace, None)
    left = Port(host, "eth0", 2, bytes(6), "192.0.2.1", "2001:db8:0::1")
    return left, replace(left, ipv4="192.0.2.2", ipv6="2001:db8:0::2")


@contextmanager
def bridge() -> Iterator[tuple[Port, Port, Port]]:
    """Three hosts on one bridge that never learns, so that every frame floods to every host."""
    with _hosts(4) as (switch, *hosts):
        # Forwarding at once: no spanning tree. Multicast to everybody: no snooping.
        switch.ip(
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            "link set br0 addrgenmode none up",
        )
        ports = []
        for station, host in enumerate(hosts, 1):
            port, plug = _cable(host, "eth0", switch, f"port{station}")
            switch.ip(
                f"link set {plug.name} master br0",
                f"link set {plug.name} type bridge_slave learning off flood on",
            )
            ports.append(_number(port, 0, station))
        _introduce(*ports)
        yield ports[0], ports[1], ports[2]


@contextmanager
def router() -> Iterator[tuple[Port, Port, Port, Port]]:
    """Two hosts and a router between them: left, the router's left and right port, right."""
    with _hosts(3) as (left_host, middle, right_host):
        left, inner_left = _cable(left_host, "eth0", middle, "eth0")
        inner_right, right = _cable(middle, "eth1", right_host, "eth0")
        left, inner_left = _number(left, 1, 1), _number(inner_left, 1, 2)
        inner_right, right = _number(inner_right, 2, 2), _number(right, 2, 1)
        _introduce(left, inner_left)
        _introduce(inner_right, right)
        middle.sysctl("ipv4/ip_forward", 1)
        middle.sysctl("ipv6/conf/all/forwarding", 1)
        for port, gateway in ((left, inner_left), (right, inner_right)):
            port.host.ip(
                f"route add default via {gateway.ipv4} dev {port.name}",
                f"route add ::/0 via {gateway.ipv6} dev {port.name}",
            )
        yield left, inner_left, inner_right, right


@contextmanager
def loopback() -> Iterator[Port]:
    """A host with nothing but its loopback."""
    with _hosts(1) as (host,):
        yield Port(host, "lo", 1, bytes(6), "127.0.0.1", "::1")


# ---------------------------------------------------------------------------------------------
# Traffic


def marked(word: str, count: int) -> list[bytes]:
    """Payloads that nothing else on the network carries, each another one."""
    return [f"winsockctl {word} {number}".encode() for number in range(count)]


def talk(sender: Port, receiver: Port, payloads: Iterable[bytes], family: int) -> None:
    """Send UDP datagrams and wait for each: all have passed both interfaces on return.

    A packet socket is served before the protocol above it, so whoever captures has them by then.
    """
    with receiver.udp(family) as target, sender.udp(family) as source:
        for payload in payloads:
            source.sendto(payload, target.getsockname()[:2])
            received = target.recv(65535)
            if received != payload:
                raise RuntimeError("the network of the test changed a datagram")


def udp_payload(datagram: bytes | memoryview) -> bytes | None:
    """What a UDP datagram that is neither a fragment nor extended carries; None for any other."""
    data = bytes(datagram)
    if len(data) >= 20 and data[0] >> 4 == 4:
        start = (data[0] & 15) * 4
        fragment = struct.unpack_from("!H", data, 6)[0] & 0x3FFF
        protocol = data[9] if fragment == 0 else None
    elif len(data) >= 40 and data[0] >> 4 == 6:
        start = 40
        protocol = data[6]
    else:
        return None
    return data[start + 8 :] if protocol == socket.IPPROTO_UDP else None


def read_until(raw: RawSocket, last: Callable[[Datagram], bool]) -> list[Datagram]:
    """Everything that a capture delivers, up to the batch with the datagram that ends it."""
    datagrams: list[Datagram] = []
    while True:
        batch = raw.receive(PATIENCE)
        if not batch:
            raise AssertionError(f"the awaited datagram is not among {len(datagrams)} delivered")
        datagrams += batch.datagrams()
        if any(last(datagram) for datagram in datagrams[-len(batch) :]):
            return datagrams


def read_until_payload(raw: RawSocket, payload: bytes) -> list[Datagram]:
    """The same, up to the batch with the UDP datagram that carries the payload."""
    return read_until(raw, lambda datagram: udp_payload(datagram.data) == payload)


def payloads(datagrams: Iterable[Datagram]) -> list[bytes]:
    """What the UDP datagrams among these carry."""
    return [
        payload for datagram in datagrams if (payload := udp_payload(datagram.data)) is not None
    ]


# ---------------------------------------------------------------------------------------------
# Ethernet frames


def ethernet(destination: bytes, source: bytes, ethertype: int, payload: bytes) -> bytes:
    return destination + source + struct.pack("!H", ethertype) + payload


def ethertype_of(datagram: bytes) -> int:
    return ETH_P_IP if datagram[0] >> 4 == 4 else ETH_P_IPV6
