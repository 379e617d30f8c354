"""What the tests share: the backends, the networks, sockets that go with the test, named errors."""

import builtins
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import datagrams
import network
import pytest
from network import Port

from winsockctl import ControlCode, Direction, RawSocket, RcvAll, WinsockError

if sys.platform == "win32":
    # They are about namespaces, signals to threads and programs of Linux.
    collect_ignore = [
        f"test_{name}.py"
        for name in (
            *("cli", "contract_ioctl", "contract_rcvall", "demo", "filter_differential"),
            *("interfaces", "leaks", "peer", "savefile_tools", "savefile_writer"),
            *("typing", "views"),
        )
    ]
else:
    # What stands between a Windows module and Winsock has no place elsewhere.
    collect_ignore = ["windows"]

LIVE_BACKENDS = ("packet-ring", "packet-message")

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

_missing = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    # As early as this, because a process with threads cannot change its user namespace.
    config.stash[_missing] = network.prepare_process()


@pytest.fixture
def can_make_networks(pytestconfig: pytest.Config) -> None:
    missing = pytestconfig.stash[_missing]
    if missing:
        pytest.skip(f"no network of its own for the test: {missing}")


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


@pytest.fixture
def loopback(can_make_networks: None) -> Iterator[Port]:
    """The loopback of a host without any other interface; the test runs on that host."""
    with network.loopback() as port, port.host:
        yield port


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
def live_backend(request: pytest.FixtureRequest) -> str:
    """Each backend that captures from a real interface."""
    name: str = request.param
    return name


@pytest.fixture(params=(*LIVE_BACKENDS, "replay"))
def backend(request: pytest.FixtureRequest) -> str:
    """Every backend."""
    name: str = request.param
    return name


class Tap:
    """A backend and the interface that it taps, real or replayed, with a neighbour on it."""

    interface = "eth0"
    address = "192.0.2.1"
    neighbour = "192.0.2.2"
    address6 = "2001:db8:0::1"
    neighbour6 = "2001:db8:0::2"

    def __init__(
        self, backend: str, ports: tuple[Port, Port] | None, open_socket: OpenSocket
    ) -> None:
        self.backend = backend
        self._ports = ports
        self._open = open_socket

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
        if self._ports is None:
            return self.open(
                replayed=[(datagram, 0, Direction.INCOMING) for datagram in passing], **options
            )
        raw = self.open(**options)
        local, neighbour = self._ports
        neighbour.send_datagrams(local, passing)
        return raw

    def datagram(self, payload: bytes, *, family: int = socket.AF_INET) -> bytes:
        """A UDP datagram from the neighbour to the tapped interface."""
        if family == socket.AF_INET:
            return datagrams.udp(payload, source=self.neighbour, destination=self.address)
        return datagrams.udp(payload, source=self.neighbour6, destination=self.address6)


@pytest.fixture
def tap(request: pytest.FixtureRequest, backend: str, open_socket: OpenSocket) -> Tap:
    """Every backend with an interface to tap: the replay needs no network and no privilege."""
    ports = None if backend == "replay" else request.getfixturevalue("pair")
    return Tap(backend, ports, open_socket)
