"""What the tests share: the backends, the networks, sockets that go with the test, named errors."""

import builtins
import gc
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import datagrams
import network
import pytest
from missing import carried, missing
from network import Port

from winsockctl import (
    Capture,
    ControlCode,
    Direction,
    RawSocket,
    RcvAll,
    WinsockError,
    _winsockctl,
)

if sys.platform == "win32":
    from hook import Hook
    from machine import Machine

    LIVE_BACKENDS = ("winsock",)
    # They are about programs of Linux, its terminals and its namespaces.
    collect_ignore = ["test_cli.py", "test_demo.py", "test_peer.py", "test_savefile_tools.py"]
    collect_ignore += ["test_capture_process.py", "test_extcap_tshark.py", "test_top.py"]
else:
    LIVE_BACKENDS = ("packet-ring", "packet-message")
    # What stands between a Windows module and Winsock has no place elsewhere.
    collect_ignore = ["windows"]

BACKENDS = (*LIVE_BACKENDS, "replay")

# Contract C7, and the further numbers that captures meet; winsock2.h numbers them.
ERROR_CODES = {
    "WSA_OPERATION_ABORTED": 995,
    "WSA_IO_PENDING": 997,
    "WSAEINTR": 10004,
    "WSAEACCES": 10013,
    "WSAEFAULT": 10014,
    "WSAEINVAL": 10022,
    "WSAEMFILE": 10024,
    "WSAEINPROGRESS": 10036,
    "WSAENOTSOCK": 10038,
    "WSAENOPROTOOPT": 10042,
    "WSAEOPNOTSUPP": 10045,
    "WSAEADDRNOTAVAIL": 10049,
    "WSAENETDOWN": 10050,
    "WSAENOBUFS": 10055,
}
ERROR_TYPES = {"WSAEACCES": PermissionError, "WSAEINTR": InterruptedError}

_lacking = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    # What a script starts in the background ignores it, and what that starts does too (sh(1)).
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # As early as this, because a process with threads cannot change its user namespace.
    config.stash[_lacking] = network.prepare_process()
    config.addinivalue_line("markers", "needs(what, present): it is of no use without (missing.py)")
    config.addinivalue_line("markers", "linux: it is about Linux, and nothing to run elsewhere")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out elsewhere what is about Linux, its network namespaces among it."""
    if sys.platform == "linux":
        return
    others = [
        item
        for item in items
        if item.get_closest_marker("linux") or "can_make_networks" in item.fixturenames
    ]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """The collections of a file's tests need not look at all that was imported before."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        what, present = mark.args
        if not present:
            missing(what)


@pytest.fixture
def can_make_networks(pytestconfig: pytest.Config) -> None:
    lacking = pytestconfig.stash[_lacking]
    if lacking:
        pytest.skip(f"no network of its own for the test: {lacking}")


@pytest.fixture
def pair(can_make_networks: None) -> Iterator[tuple[Port, Port]]:
    """Two hosts on a cable; the test runs on the left one."""
    with network.pair() as ports, ports[0].host:
        yield ports


@pytest.fixture
def bridge(can_make_networks: None) -> Iterator[tuple[Port, Port, Port]]:
    """Three hosts on a bridge that floods; the test runs on the first."""
    with network.bridge() as ports, ports[0].host:
        yield ports


@pytest.fixture
def router(can_make_networks: None) -> Iterator[tuple[Port, Port, Port, Port]]:
    """Left host, the router's two ports, right host; the test runs on the router."""
    with network.router() as ports, ports[1].host:
        yield ports


if sys.platform == "win32":

    @pytest.fixture(scope="session")
    def machine() -> Machine:
        return Machine()

    @pytest.fixture
    def loopback(machine: Machine) -> Port:
        """The loopback of this machine."""
        return machine.loopback()

    @pytest.fixture
    def changeable(machine: Machine) -> Iterator[Port]:
        """An interface whose addresses the test may change: they are put back."""
        with machine.changeable() as port:
            yield port

    @pytest.fixture
    def ends(loopback: Port, rcvall: Hook | None) -> tuple[Port, Port]:
        """Two ends of a network on which nothing gets lost; the test runs on the first."""
        return loopback, loopback

    @pytest.fixture
    def rcvall(machine: Machine) -> Iterator[Hook | None]:
        """SIO_RCVALL: the hook stands in for it, or it must be the system's."""
        if "WINSOCKCTL_HOOK" in os.environ:
            with Hook(_winsockctl) as hook:
                machine.hook = hook
                yield hook
                machine.hook = None
        else:
            carried(lambda: Capture("127.0.0.1")).close()
            yield None

else:

    @pytest.fixture
    def loopback(can_make_networks: None) -> Iterator[Port]:
        """The loopback of a host without any other interface; the test runs on that host."""
        with network.loopback() as port, port.host:
            yield port

    @pytest.fixture
    def changeable(loopback: Port) -> Port:
        """An interface whose addresses the test may change."""
        return loopback

    @pytest.fixture
    def ends(pair: tuple[Port, Port]) -> tuple[Port, Port]:
        """Two ends of a network on which nothing gets lost; the test runs on the first."""
        return pair

    @pytest.fixture
    def rcvall() -> None:
        """SIO_RCVALL: every Linux has what stands for it."""


def check_error(error: WinsockError, symbol: str, call: str) -> None:
    """Contract C7: number, name, call and the fitting built-in subclass."""
    assert isinstance(error, WinsockError)
    assert (error.symbol, error.code) == (symbol, ERROR_CODES[symbol])
    assert error.call == call
    assert isinstance(error, ERROR_TYPES.get(symbol, builtins.OSError))
    text = f"{call} failed with {symbol} ({ERROR_CODES[symbol]})"
    assert error.strerror == (f"{text}: {error.hint}" if error.hint else text)


FailsWith = Callable[[str, str], AbstractContextManager["pytest.ExceptionInfo[WinsockError]"]]


@pytest.fixture
def fails_with() -> FailsWith:
    """``with fails_with("WSAEINVAL", "bind"):`` what is inside has to fail in just this way."""

    @contextmanager
    def expect(symbol: str, call: str) -> Iterator["pytest.ExceptionInfo[WinsockError]"]:
        with pytest.raises(WinsockError) as caught:
            yield caught
        check_error(caught.value, symbol, call)

    return expect


OpenSocket = Callable[..., RawSocket]


@pytest.fixture
def open_socket() -> Iterator[OpenSocket]:
    """``open_socket(backend, interface)``: a raw socket, bound, turned on, closed after the test.

    ``mode``, ``family`` and the options of ``RawSocket`` or ``RawSocket.replay`` may be given;
    ``replayed`` is what a replay delivers.
    """
    with ExitStack() as stack:

        def open_(
            backend: str,
            interface: str | int,
            *,
            mode: RcvAll = RcvAll.IPLEVEL,
            family: int = socket.AF_UNSPEC,
            replayed: Iterable[object] = (),
            **options: object,
        ) -> RawSocket:
            if backend == "replay":
                raw = RawSocket.replay(replayed, family=family, wait=True, **options)
            else:
                # The default of 64 MiB takes a while to get, and no test needs it.
                raw = RawSocket(family, backend=backend, **{"buffer_size": 4 * 2**20} | options)
            stack.callback(raw.close)
            raw.bind(interface)
            raw.ioctl(ControlCode.SIO_RCVALL, struct.pack("=I", mode))
            return raw

        yield open_


@pytest.fixture(params=LIVE_BACKENDS)
def live_backend(request: pytest.FixtureRequest, rcvall: object) -> str:
    """Each backend that captures from a real interface."""
    name: str = request.param
    return name


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Every backend."""
    name: str = request.param
    return name


class Tap:
    """A backend and the interface that it taps, real or replayed, with a neighbour on it."""

    def __init__(
        self, backend: str, ends: tuple[Port, Port] | None, open_socket: OpenSocket
    ) -> None:
        self.backend = backend
        self._open = open_socket
        self._ends = ends
        local, neighbour = ends or network.imaginary_pair()
        self.interface = local.name
        self.address, self.neighbour = local.ipv4, neighbour.ipv4
        self.address6, self.neighbour6 = local.ipv6, neighbour.ipv6

    def create(self, family: int = socket.AF_UNSPEC, **options: object) -> RawSocket:
        """A raw socket that is neither bound nor turned on."""
        if self.backend == "replay":
            return RawSocket.replay((), family=family, wait=True, **options)
        return RawSocket(family, backend=self.backend, **options)

    def open(self, **options: object) -> RawSocket:
        """A raw socket that is bound and turned on."""
        return self._open(self.backend, self.interface, **options)

    def capture(self, passing: Sequence[bytes], **options: object) -> RawSocket:
        """Open a raw socket, then let datagrams from the neighbour pass its interface."""
        if self._ends is None:
            return self.open(
                replayed=[(datagram, 0, Direction.INCOMING) for datagram in passing], **options
            )
        raw = self.open(**options)
        self.send(passing)
        return raw

    def send(self, passing: Sequence[bytes]) -> None:
        """Let datagrams from the neighbour pass the real interface."""
        assert self._ends is not None
        local, neighbour = self._ends
        neighbour.send_datagrams(local, passing)

    def datagram(self, payload: bytes, *, family: int = socket.AF_INET) -> bytes:
        """A UDP datagram from the neighbour to the tapped interface."""
        ends = {"source": self.neighbour, "destination": self.address}
        if family == socket.AF_INET6:
            return datagrams.udp(payload, source=self.neighbour6, destination=self.address6)
        # Systems put another number in the place of 0.
        return datagrams.ipv4(
            datagrams.udp(payload, **ends)[20:], datagrams.UDP, identification=4711, **ends
        )


@pytest.fixture
def tap(request: pytest.FixtureRequest, backend: str, open_socket: OpenSocket) -> Tap:
    """Every backend with an interface to tap: the replay needs no network and no privilege."""
    if backend == "replay":
        return Tap(backend, None, open_socket)
    request.getfixturevalue("rcvall")
    return Tap(backend, request.getfixturevalue("ends"), open_socket)
