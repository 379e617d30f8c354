"""The typed wrappers of the control codes (C2, C3, F1 to F9), on real sockets and real networks.

What Winsock answers in bytes is read by winsockctl._structures, a part that makes no system call:
its tests run everywhere, on bytes laid out by hand as the reference pages say.
"""

import dataclasses
import inspect
import ipaddress
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import network
import pytest
from conftest import FailsWith, OpenSocket
from missing import WINE, carried
from network import PATIENCE, Namespace, Port, eventually

import winsockctl
from winsockctl import (
    ControlCode,
    InterfaceInfo,
    RawSocket,
    RcvAll,
    TcpInfo,
    TcpState,
    WinsockError,
    _structures,
    address_list,
    base_handle,
    interface_list,
    ioctl,
    routing_interface,
    set_keepalive,
    set_loopback_fast_path,
    set_rcvall_igmpmcast,
    set_rcvall_mcast,
    set_udp_connreset,
    start_ioctl,
    tcp_info,
    wait_address_list_change,
)

FAST_PATH = "WSAIoctl(SIO_LOOPBACK_FAST_PATH)"
TCP_INFO = "WSAIoctl(SIO_TCP_INFO)"
INTERFACE_LIST = "WSAIoctl(SIO_GET_INTERFACE_LIST)"
ADDRESS_LIST = "WSAIoctl(SIO_ADDRESS_LIST_QUERY)"
ADDRESS_CHANGE = "WSAIoctl(SIO_ADDRESS_LIST_CHANGE)"
ROUTING = "WSAIoctl(SIO_ROUTING_INTERFACE_QUERY)"

linux = pytest.mark.linux


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        yield sock


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


@pytest.fixture
def udp6() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        yield sock


@contextmanager
def connection(address: str = "127.0.0.1") -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a TCP connection over loopback."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.create_server((address, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2], timeout=PATIENCE) as client,
        closing(server.accept()[0]) as served,
    ):
        served.settimeout(PATIENCE)
        yield client, served


def receive_exactly(sock: socket.socket, count: int) -> None:
    while count > 0:
        received = len(sock.recv(min(count, 65536)))
        assert received > 0, "the connection ended early"
        count -= received


# ---------------------------------------------------------------------------------------------
# C2: any socket, and nothing else

WRAPPERS: dict[str, Callable[[Any], object]] = {
    "SIO_RCVALL_MCAST": lambda sock: set_rcvall_mcast(sock, RcvAll.ON),
    "SIO_RCVALL_IGMPMCAST": lambda sock: set_rcvall_igmpmcast(sock, RcvAll.ON),
    "SIO_LOOPBACK_FAST_PATH": lambda sock: set_loopback_fast_path(sock, required=False),
    "SIO_KEEPALIVE_VALS": lambda sock: set_keepalive(sock, True, 60, 1),
    "SIO_UDP_CONNRESET": lambda sock: set_udp_connreset(sock, False),
    "SIO_TCP_INFO": tcp_info,
    "SIO_GET_INTERFACE_LIST": interface_list,
    "SIO_ADDRESS_LIST_QUERY": address_list,
    "SIO_ADDRESS_LIST_CHANGE": lambda sock: wait_address_list_change(sock, 0),
    "SIO_ROUTING_INTERFACE_QUERY": lambda sock: routing_interface(sock, "127.0.0.1"),
    "SIO_BASE_HANDLE": base_handle,
}

# What Linux has no equal of.
WITHOUT_EQUAL = ("SIO_RCVALL_MCAST", "SIO_RCVALL_IGMPMCAST", "SIO_UDP_CONNRESET")

each_wrapper = pytest.mark.parametrize("name", WRAPPERS)


def refused(call: Callable[[], object]) -> WinsockError:
    with pytest.raises(WinsockError) as caught:
        call()
    return caught.value


@each_wrapper
@pytest.mark.parametrize(
    "what", ["closed", "closed descriptor", "file", "pipe", "negative", "never opened", "huge"]
)
def test_c2_what_is_no_socket(rcvall: object, name: str, what: str) -> None:
    sock: socket.socket | int
    with ExitStack() as stack:
        if what == "closed":
            sock = socket.socket()
            sock.close()
        elif what == "closed descriptor":
            gone = socket.socket()
            sock = gone.fileno()
            gone.close()
        elif what == "file":
            sock = stack.enter_context(tempfile.TemporaryFile()).fileno()
        elif what == "pipe":
            sock, other = os.pipe()
            stack.callback(os.close, sock)
            stack.callback(os.close, other)
        else:
            sock = {"negative": -1, "never opened": 1_000_000, "huge": 2**40}[what]
        error = refused(lambda: WRAPPERS[name](sock))
    assert (error.symbol, error.code) == ("WSAENOTSOCK", 10038)
    assert error.call in ("WSAIoctl", f"WSAIoctl({name})")
    assert error.hint
    assert str(error.errno) in str(error)


@linux
@each_wrapper
def test_c2_a_descriptor_that_only_ends_like_that_of_a_socket(
    name: str, tcp: socket.socket
) -> None:
    assert refused(lambda: WRAPPERS[name](2**32 + tcp.fileno())).symbol == "WSAENOTSOCK"


@each_wrapper
@pytest.mark.parametrize("wrong", [None, 1.5, "3", b"3", object()])
def test_c2_what_has_no_descriptor_is_a_type_error(name: str, wrong: object) -> None:
    with pytest.raises(TypeError, match="socket or its descriptor"):
        WRAPPERS[name](wrong)


@pytest.mark.parametrize("name", [name for name in WRAPPERS if name not in WITHOUT_EQUAL])
def test_c2_a_descriptor_does_what_its_socket_does(name: str, tcp: socket.socket) -> None:
    def answer(sock: socket.socket | int) -> object:
        try:
            return WRAPPERS[name](sock)
        except WinsockError as error:
            return str(error)

    assert answer(tcp.fileno()) == answer(tcp)
    tcp.bind(("127.0.0.1", 0))  # it is still open, and still the caller's


@linux
@pytest.mark.parametrize("how", ["object", "descriptor"])
@each_wrapper
def test_c2_the_blocking_mode_stays_the_callers(name: str, how: str, tcp: socket.socket) -> None:
    # A socket object that is made from a descriptor takes the default timeout, and with it the
    # descriptor would be made non-blocking.
    tcp.settimeout(None)
    socket.setdefaulttimeout(PATIENCE)
    try:
        if name in WITHOUT_EQUAL:
            refused(lambda: WRAPPERS[name](tcp))
        else:
            WRAPPERS[name](tcp if how == "object" else tcp.fileno())
    finally:
        socket.setdefaulttimeout(None)
    assert os.get_blocking(tcp.fileno())


@linux
@each_wrapper
def test_c2_no_descriptor_is_left_open(name: str, tcp: socket.socket) -> None:
    with tempfile.TemporaryFile() as file:
        before = sorted(os.listdir("/proc/self/fd"))
        for sock in (tcp, tcp.fileno(), file.fileno(), 1_000_000):
            for _ in range(3):
                with suppress(WinsockError):
                    WRAPPERS[name](sock)
            assert sorted(os.listdir("/proc/self/fd")) == before


def test_c2_a_raw_socket_of_the_package(
    loopback: Port, open_socket: OpenSocket, live_backend: str
) -> None:
    raw = open_socket(live_backend, loopback.name)
    assert base_handle(raw) == base_handle(raw.fileno()) == raw.fileno()
    if sys.platform == "linux":  # a packet socket is of no family that these are about
        for call in (tcp_info, interface_list, address_list, wait_address_list_change):
            assert refused(lambda call=call: call(raw)).symbol == "WSAEINVAL"
    raw.close()
    assert refused(lambda: base_handle(raw)).symbol == "WSAENOTSOCK"


# ---------------------------------------------------------------------------------------------
# C3: codes without an equal


@linux
@pytest.mark.parametrize("name", WITHOUT_EQUAL)
def test_c3_a_code_without_an_equal_on_linux(
    name: str, tcp: socket.socket, udp: socket.socket, fails_with: FailsWith
) -> None:
    for sock in (tcp, udp, udp.fileno()):
        with fails_with("WSAEOPNOTSUPP", f"WSAIoctl({name})") as caught:
            WRAPPERS[name](sock)
        assert "Linux" in caught.value.hint


if sys.platform == "win32":

    def test_udp_without_the_report_of_closed_ports(udp: socket.socket) -> None:
        for enable in (True, False):
            carried(lambda enable=enable: set_udp_connreset(udp, enable))
        udp.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            closed_port = gone.getsockname()
        udp.sendto(b"nobody is there", closed_port)
        udp.sendto(b"still alive", udp.getsockname())
        udp.settimeout(PATIENCE)
        assert udp.recv(100) == b"still alive"


# ---------------------------------------------------------------------------------------------
# SIO_LOOPBACK_FAST_PATH


@linux
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("enable", [False, True])
def test_f1_four_bytes_in_and_nothing_out(family: int, enable: bool, fails_with: FailsWith) -> None:
    # Linux judges input and output before it says that it has no fast path.
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        with fails_with("WSAEOPNOTSUPP", FAST_PATH):  # F6
            set_loopback_fast_path(sock, enable)
        assert set_loopback_fast_path(sock, enable, required=False) is False


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("AF_INET", socket.SOCK_DGRAM),
        ("AF_INET6", socket.SOCK_DGRAM),
        pytest.param("AF_UNIX", socket.SOCK_STREAM, marks=linux),
    ],
)
def test_f2_another_type_of_socket(family: str, kind: int, required: bool) -> None:
    answer = ""
    with socket.socket(getattr(socket, family), kind) as sock:
        try:
            set_loopback_fast_path(sock, required=required)
        except WinsockError as error:
            answer = f"{error.call} {error.symbol}"
    assert answer == f"{FAST_PATH} WSAEINVAL" or (
        # Windows may have the transport answer instead.
        sys.platform == "win32" and answer == (f"{FAST_PATH} WSAEOPNOTSUPP" if required else "")
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("how", ["object", "descriptor"])
def test_f4_a_socket_that_is_connected(
    address: str, required: bool, how: str, fails_with: FailsWith
) -> None:
    with connection(address) as ends:
        for sock in ends:
            for enable in (True, False):
                with fails_with("WSAEINVAL", FAST_PATH) as caught:
                    set_loopback_fast_path(
                        sock if how == "object" else sock.fileno(), enable, required=required
                    )
                assert "before connect()" in caught.value.hint
                assert "before accept()" in caught.value.hint
                assert caught.value.errno == 22  # EINVAL
        client, served = ends
        client.sendall(b"unharmed")
        assert served.recv(100) == b"unharmed"


@pytest.mark.parametrize("ask", [ioctl, start_ioctl])
def test_f4_no_way_of_asking_is_for_a_socket_that_is_connected(
    ask: Callable[..., object], fails_with: FailsWith
) -> None:
    with connection() as ends:
        for sock in ends:
            with fails_with("WSAEINVAL", FAST_PATH):
                ask(sock, ControlCode.SIO_LOOPBACK_FAST_PATH, struct.pack("=I", 1))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_f4_asking_in_time_is_not_refused_for_the_time(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.create_server((address, 0), family=family) as server,
        socket.socket(family) as client,
    ):
        answers = {set_loopback_fast_path(sock, required=False) for sock in (server, client)}
        assert len(answers) == 1
        client.connect(server.getsockname()[:2])
        # Listening for ever: the next one may ask as well.
        assert {set_loopback_fast_path(server, required=False)} == answers
        with closing(server.accept()[0]) as served:
            client.sendall(b"as good as any connection")
            assert served.recv(100) == b"as good as any connection"


@linux
def test_f6_only_the_missing_fast_path_is_an_answer(
    udp: socket.socket, fails_with: FailsWith
) -> None:
    udp.connect(("127.0.0.1", 9))
    with fails_with("WSAEINVAL", FAST_PATH) as caught:
        set_loopback_fast_path(udp, required=False)
    assert "TCP" in caught.value.hint
    with fails_with("WSAENOTSOCK", "WSAIoctl"):
        set_loopback_fast_path(-1, required=False)


def test_f8_f9_the_documentation_says_what_one_has_to_know() -> None:
    text = inspect.getdoc(set_loopback_fast_path) or ""
    assert "Deprecated" in text
    assert "Use an ordinary TCP connection" in text
    for option in [
        "IP_TTL",
        "IP_UNICAST_IF",
        "IPV6_UNICAST_HOPS",
        "IPV6_UNICAST_IF",
        "IPV6_V6ONLY",
        "SO_CONDITIONAL_ACCEPT",
        "SO_EXCLUSIVEADDRUSE",
        "SO_PORT_SCALABILITY",
        "SO_RCVBUF",
        "SO_REUSEADDR",
        "TCP_BSDURGENT",
    ]:
        assert option in text


# ---------------------------------------------------------------------------------------------
# SIO_KEEPALIVE_VALS


def keepalive_of(sock: socket.socket) -> tuple[bool, int, int]:
    return (
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0,
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    )


@linux
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize(
    ("idle", "interval", "kept"),
    [
        (90, 7, (90, 7)),
        (90.0, 7.0, (90, 7)),
        (0.001, 0.001, (1, 1)),  # whole seconds, rounded up
        (1.001, 2.5, (2, 3)),
        (32767, 32767, (32767, 32767)),
    ],
)
def test_keepalive_is_what_the_socket_has(
    family: int, idle: float, interval: float, kept: tuple[int, int]
) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        set_keepalive(sock, True, idle, interval)
        assert keepalive_of(sock) == (True, *kept)
        set_keepalive(sock.fileno(), False, 1, 1)
        assert keepalive_of(sock) == (False, *kept)


@linux
def test_keepalive_defaults_are_those_of_windows(tcp: socket.socket) -> None:
    set_keepalive(tcp, True)
    assert keepalive_of(tcp) == (True, 7200, 1)


def test_keepalive_goes_on_and_off(tcp: socket.socket) -> None:
    for on in (True, False, True):
        set_keepalive(tcp, on, 30, 2)
        assert bool(tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is on


@pytest.mark.parametrize(
    "seconds", [0, -1, 0.0009, 4294968, float("nan"), float("inf"), float("-inf")]
)
def test_keepalive_out_of_range_is_a_value_error(tcp: socket.socket, seconds: float) -> None:
    with pytest.raises(ValueError, match=r"idle must be 0\.001 to 4294967\.295 seconds"):
        set_keepalive(tcp, True, seconds, 1)
    with pytest.raises(ValueError, match=r"interval must be 0\.001 to 4294967\.295 seconds"):
        set_keepalive(tcp, True, 1, seconds)
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


@linux
@pytest.mark.parametrize("seconds", [32768, 4294967.295])
def test_keepalive_that_linux_cannot_count(
    tcp: socket.socket, seconds: float, fails_with: FailsWith
) -> None:
    with fails_with("WSAEINVAL", "WSAIoctl(SIO_KEEPALIVE_VALS)"):
        set_keepalive(tcp, True, seconds, 1)
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def test_keepalive_on_another_type_of_socket(udp: socket.socket) -> None:
    error = refused(lambda: set_keepalive(udp, True, 1, 1))
    assert error.call == "WSAIoctl(SIO_KEEPALIVE_VALS)"
    assert error.symbol in ("WSAEINVAL", "WSAENOPROTOOPT")


# ---------------------------------------------------------------------------------------------
# SIO_TCP_INFO


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("how", ["object", "descriptor"])
def test_tcp_info_of_a_connection(address: str, how: str) -> None:
    with connection(address) as (client, served):
        client.sendall(bytes(100_000))
        receive_exactly(served, 100_000)
        served.sendall(bytes(3_000))
        receive_exactly(client, 3_000)
        by_client, by_served = (
            carried(lambda end=end: tcp_info(end if how == "object" else end.fileno()))
            for end in (client, served)
        )
    assert by_client.state == by_served.state == TcpState.ESTABLISHED
    assert by_client.bytes_out - by_client.bytes_retransmitted == by_served.bytes_in == 100_000
    assert by_served.bytes_out - by_served.bytes_retransmitted == by_client.bytes_in == 3_000
    for info in (by_client, by_served):
        assert info.mss > 0
        assert info.congestion_window >= info.mss
        assert info.send_window > 0
        assert info.rtt_us > 0
        assert info.min_rtt_us is not None


@linux
def test_tcp_info_is_what_the_system_tells_others(loopback: Port) -> None:
    with connection() as (client, served):
        client.sendall(bytes(50_000))
        receive_exactly(served, 50_000)
        port = client.getsockname()[1]

        def told() -> tuple[TcpInfo, str]:
            listing = subprocess.run(
                [network.tool("ss") or "ss", "-tinHOe", "sport", "=", f":{port}"],
                capture_output=True,
                text=True,
                check=True,
                env=network.tool_environment(),
            )
            return tcp_info(client), listing.stdout

        # An acknowledgement may come between the two: then they are asked again.
        def agree() -> bool:
            info, listing = told()
            others = {name: float(value) for name, value in re.findall(r"(\w+):([0-9.]+)", listing)}
            return (
                listing.startswith("ESTAB")
                and info.state is TcpState.ESTABLISHED
                and info.mss == others["mss"]
                and info.timestamps == (" ts " in listing)
                and info.rtt_us == round(others["rtt"] * 1000)
                and info.min_rtt_us == round(others["minrtt"] * 1000)
                and info.congestion_window == others["cwnd"] * others["mss"]
                and info.send_window == others["snd_wnd"]
                and info.bytes_out == others["bytes_sent"] == 50_000
                and info.bytes_retransmitted == others.get("bytes_retrans", 0)
            )

        assert eventually(agree), told()
        assert tcp_info(served).bytes_in == 50_000


@linux
@pytest.mark.parametrize("timestamps", [False, True])
def test_tcp_info_tells_time_stamps(loopback: Port, timestamps: bool) -> None:
    loopback.host.sysctl("ipv4/tcp_timestamps", int(timestamps))
    with connection() as ends:
        assert [tcp_info(end).timestamps for end in ends] == [timestamps, timestamps]


@linux
def test_tcp_info_tells_what_was_sent_again(pair: tuple[Port, Port]) -> None:
    local, remote = pair
    with remote.host:
        server = socket.create_server((remote.ipv4, 0))
    with server, socket.create_connection(server.getsockname(), timeout=PATIENCE) as client:
        assert tcp_info(client).bytes_retransmitted == 0
        # From now on the frames are for a station that there is not.
        local.host.ip(
            f"neigh replace {remote.ipv4} lladdr 02:ff:ff:ff:ff:ff dev {local.name} nud permanent"
        )
        client.sendall(bytes(500))
        assert eventually(lambda: tcp_info(client).bytes_retransmitted > 0)
        info = tcp_info(client)
        assert info.bytes_retransmitted % 500 == 0
        assert info.bytes_out == 500 + info.bytes_retransmitted


@linux
def test_tcp_info_tells_what_the_other_end_is_ready_for(loopback: Port) -> None:
    with connection() as (client, _):
        open_window = tcp_info(client).send_window
        client.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                client.send(bytes(65536))
        assert eventually(lambda: tcp_info(client).send_window < open_window)


def test_tcp_info_of_the_states_of_a_connection() -> None:
    with connection() as (client, served):
        client.shutdown(socket.SHUT_WR)
        assert served.recv(1) == b""
        assert carried(lambda: tcp_info(served)).state is TcpState.CLOSE_WAIT
        assert eventually(lambda: tcp_info(client).state is TcpState.FIN_WAIT_2)
        served.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert eventually(lambda: tcp_info(served).state is TcpState.CLOSED)


@linux
def test_tcp_info_of_sockets_without_a_connection(
    pair: tuple[Port, Port], tcp: socket.socket
) -> None:
    fresh = tcp_info(tcp)
    assert fresh.state is TcpState.CLOSED
    assert fresh.min_rtt_us is None
    assert (fresh.rtt_us, fresh.bytes_in, fresh.bytes_out) == (0, 0, 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert tcp_info(server).state is TcpState.LISTEN
    _, remote = pair
    remote.host.ip(f"link set {remote.name} down")  # nobody answers
    with socket.socket() as calling:
        calling.setblocking(False)
        calling.connect_ex((remote.ipv4, 9))
        assert tcp_info(calling).state is TcpState.SYN_SENT


@linux
@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("AF_INET", socket.SOCK_DGRAM),
        ("AF_INET6", socket.SOCK_DGRAM),
        ("AF_UNIX", socket.SOCK_STREAM),
    ],
)
def test_tcp_info_of_another_type_of_socket(family: str, kind: int, fails_with: FailsWith) -> None:
    with (
        socket.socket(getattr(socket, family), kind) as sock,
        fails_with("WSAEINVAL", TCP_INFO) as caught,
    ):
        tcp_info(sock)
    assert "TCP" in caught.value.hint


# ---------------------------------------------------------------------------------------------
# SIO_GET_INTERFACE_LIST


def interface_list_of_the_system(host: Namespace) -> list[InterfaceInfo]:
    """The same, as ip(8) tells it."""
    found = []
    for entry in host.describe("-4", "address", "show"):
        flags = entry["flags"]
        point_to_point = "POINTOPOINT" in flags
        for address in entry["addr_info"]:
            mask = ipaddress.ip_network(f"0.0.0.0/{address['prefixlen']}").netmask
            other = address.get("address", address["local"])
            found.append(
                InterfaceInfo(
                    address=address["local"],
                    netmask=str(mask),
                    broadcast=other if point_to_point else address.get("broadcast", "0.0.0.0"),
                    up="UP" in flags,
                    can_broadcast="BROADCAST" in flags,
                    loopback="LOOPBACK" in flags,
                    point_to_point=point_to_point,
                    multicast="MULTICAST" in flags,
                )
            )
    return found


def test_interface_list_is_that_of_the_system(
    router: tuple[Port, Port, Port, Port],
) -> None:
    _, left, right, _ = router
    host = left.host
    host.ip(
        f"addr add 192.0.2.65/26 broadcast + dev {left.name}",
        f"addr add 192.0.2.66/26 dev {left.name}",
        f"addr add 192.0.2.129/25 broadcast + dev {left.name} label {left.name}:1",
        "addr add 192.0.2.200/32 dev lo",
        f"link set {right.name} down multicast off",
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        listed = interface_list(udp)
        assert interface_list(udp.fileno()) == listed
    assert listed == interface_list_of_the_system(host)
    by_address = {info.address: info for info in listed}
    assert by_address["192.0.2.65"].netmask == "255.255.255.192"
    assert by_address["192.0.2.65"].broadcast == "192.0.2.127"
    assert by_address["127.0.0.1"].loopback
    assert not by_address[right.ipv4].up
    assert not by_address[right.ipv4].multicast


@linux
def test_interface_list_of_a_point_to_point_link(loopback: Port) -> None:
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("the right to open /dev/net/tun is missing")
    loopback.host.ip(
        "tuntap add mode tun name tun0",
        "addr add 10.9.0.1 peer 10.9.0.2/32 dev tun0",
        "link set tun0 up",
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        (link,) = (info for info in interface_list(udp) if info.point_to_point)
    assert (link.address, link.broadcast) == ("10.9.0.1", "10.9.0.2")
    assert not link.can_broadcast


@linux
def test_interface_list_that_is_long(loopback: Port) -> None:
    loopback.host.ip(*(f"addr add 10.0.{i // 200}.{i % 200 + 1}/32 dev lo" for i in range(600)))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        listed = interface_list(tcp)
    assert len(listed) == 601
    assert listed == interface_list_of_the_system(loopback.host)


@linux
def test_interface_list_of_the_sockets_own_network(pair: tuple[Port, Port]) -> None:
    _, remote = pair
    with remote.host:
        there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with there:
        assert {info.address for info in interface_list(there)} == {"127.0.0.1", remote.ipv4}


def test_interface_list_has_the_loopback(udp: socket.socket) -> None:
    loopbacks = [info for info in interface_list(udp) if info.loopback]
    assert "127.0.0.1" in [info.address for info in loopbacks]
    assert all(info.up for info in loopbacks)
    assert loopbacks[0].netmask.startswith("255.")


@linux
@pytest.mark.parametrize("family", ["AF_INET6", "AF_UNIX"])
def test_interface_list_by_a_socket_of_another_family(family: str, fails_with: FailsWith) -> None:
    with (
        socket.socket(getattr(socket, family), socket.SOCK_DGRAM) as sock,
        fails_with("WSAEINVAL", INTERFACE_LIST) as caught,
    ):
        interface_list(sock)
    assert "AF_INET" in caught.value.hint


# ---------------------------------------------------------------------------------------------
# SIO_ADDRESS_LIST_QUERY


def test_address_list_is_of_the_sockets_family(
    pair: tuple[Port, Port], udp: socket.socket, udp6: socket.socket
) -> None:
    local, _ = pair
    local.host.ip(
        f"addr add 192.0.2.77/24 dev {local.name}",
        f"addr add 2001:db8:ffff::1/64 dev {local.name} nodad",
        f"addr add fe80::1/64 dev {local.name} nodad",
    )
    assert address_list(udp) == [local.ipv4, "192.0.2.77"]
    assert address_list(udp.fileno()) == [local.ipv4, "192.0.2.77"]
    assert sorted(address_list(udp6)) == sorted(
        [str(ipaddress.ip_address(local.ipv6)), "2001:db8:ffff::1", f"fe80::1%{local.index}"]
    )


@linux
def test_address_list_leaves_the_addresses_of_loopback_out(
    loopback: Port, udp: socket.socket, udp6: socket.socket
) -> None:
    assert address_list(udp) == address_list(udp6) == []
    loopback.host.ip(
        "addr add 169.254.1.1/32 dev lo",
        "addr add fe80::1/64 dev lo nodad",
        "addr add 198.51.100.7/32 dev lo",
        "addr add 2001:db8::7/128 dev lo nodad",
    )
    assert address_list(udp) == ["198.51.100.7"]
    assert address_list(udp6) == ["2001:db8::7"]


def test_address_list_leaves_out_what_cannot_be_bound_to(
    pair: tuple[Port, Port], udp6: socket.socket
) -> None:
    local, _ = pair
    # Asked for so many times, one a second, that the address stays tentative.
    local.host.sysctl(f"ipv6/conf/{local.name}/dad_transmits", 1000)
    local.host.ip(f"addr add 2001:db8::99/64 dev {local.name}")
    (entry,) = local.host.describe("-6", "address", "show", "dev", local.name)
    assert [a["local"] for a in entry["addr_info"] if a.get("tentative")] == ["2001:db8::99"]
    assert address_list(udp6) == [str(ipaddress.ip_address(local.ipv6))]


@pytest.mark.parametrize(
    "family",
    [
        socket.AF_INET,
        pytest.param(
            socket.AF_INET6,
            marks=pytest.mark.needs("a list of IPv6 addresses", not WINE),
        ),
    ],
)
def test_every_listed_address_can_be_bound_to(family: socket.AddressFamily) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        listed = address_list(sock)
    for address in listed:
        ((*_, target),) = socket.getaddrinfo(
            address, 0, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST
        )
        with socket.socket(family, socket.SOCK_DGRAM) as bound:
            bound.bind(target)
            assert ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]) == (
                ipaddress.ip_address(address.partition("%")[0])
            )


@linux
def test_address_list_by_a_socket_of_another_family(fails_with: FailsWith) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        fails_with("WSAEINVAL", ADDRESS_LIST) as caught,
    ):
        address_list(sock)
    assert "AF_INET6" in caught.value.hint


# ---------------------------------------------------------------------------------------------
# SIO_ADDRESS_LIST_CHANGE


class Waiting(threading.Thread):
    """A thread on a host that waits for a change of its addresses."""

    def __init__(self, host: Namespace, sock: socket.socket | int) -> None:
        super().__init__()
        self._host, self._sock = host, sock
        self.answer: bool | None = None
        self.start()

    def run(self) -> None:
        with self._host:
            self.answer = wait_address_list_change(self._sock, PATIENCE)


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "192.0.2.7/32"),
        pytest.param(
            socket.AF_INET6,
            "2001:db8::7/128",
            marks=pytest.mark.needs("a change of IPv6 addresses that is told", not WINE),
        ),
    ],
)
@pytest.mark.parametrize("how", ["object", "descriptor"])
def test_an_address_that_comes_or_goes_ends_the_wait(
    changeable: Port, family: int, address: str, how: str
) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        waiting = Waiting(changeable.host, sock if how == "object" else sock.fileno())
        # What changes before the thread listens is not its business: change until it has noticed.
        for _ in range(1000):
            changeable.host.ip(
                f"addr add {address} dev {changeable.name}",
                f"addr del {address} dev {changeable.name}",
            )
            waiting.join(0.01)
            if not waiting.is_alive():
                break
        waiting.join()
        assert waiting.answer is True
        assert wait_address_list_change(sock, 0) is False  # it was told once


@pytest.mark.parametrize("timeout", [0, 0.01, 0.2])
def test_no_change_within_the_time(loopback: Port, udp: socket.socket, timeout: float) -> None:
    assert wait_address_list_change(udp, timeout) is False


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_time_that_there_is_not_is_a_value_error(udp: socket.socket, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        wait_address_list_change(udp, timeout)


def test_c6_closing_the_socket_ends_the_wait(fails_with: FailsWith) -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    closing_soon = threading.Timer(0.1, udp.close)
    closing_soon.start()
    with fails_with("WSA_OPERATION_ABORTED", ADDRESS_CHANGE):
        wait_address_list_change(udp, PATIENCE)
    closing_soon.join()


@linux
def test_a_change_that_nobody_can_wait_for(fails_with: FailsWith) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        fails_with("WSAEINVAL", ADDRESS_CHANGE) as caught,
    ):
        wait_address_list_change(sock, 0)
    assert "AF_INET" in caught.value.hint


# ---------------------------------------------------------------------------------------------
# SIO_ROUTING_INTERFACE_QUERY


@linux
def test_the_way_to_loopback_is_loopback(udp: socket.socket, tcp: socket.socket) -> None:
    for sock in (udp, tcp, udp.fileno()):
        assert routing_interface(sock, "127.0.0.1") == "127.0.0.1"


def test_the_way_to_a_neighbour_leads_through_its_network(udp: socket.socket) -> None:
    interfaces = [
        ipaddress.IPv4Interface(f"{info.address}/{info.netmask}")
        for info in interface_list(udp)
        if info.up and not info.loopback and not info.point_to_point
    ]
    networks = [interface for interface in interfaces if interface.network.prefixlen < 31]
    if not networks:
        pytest.skip("an interface with neighbours is missing")
    for interface in networks:
        first, second = interface.network[1], interface.network[2]
        neighbour = second if interface.ip == first else first
        assert routing_interface(udp, str(neighbour)) in [
            str(other.ip) for other in networks if neighbour in other.network
        ]


def test_the_way_leads_through_the_interface_that_is_nearest(
    router: tuple[Port, Port, Port, Port], udp: socket.socket, udp6: socket.socket
) -> None:
    left, inner_left, inner_right, right = router
    for near, far in ((inner_left, left), (inner_right, right)):
        assert routing_interface(udp, far.ipv4) == near.ipv4
        assert routing_interface(udp6, far.ipv6) == str(ipaddress.ip_address(near.ipv6))
    assert routing_interface(udp, inner_left.ipv4) == inner_left.ipv4
    # A route may name the address, and may lead to groups and to everybody.
    inner_left.host.ip(
        f"addr add 192.0.2.77/32 dev {inner_right.name}",
        f"route add 192.0.2.128/25 via {right.ipv4} src 192.0.2.77",
        f"route add 224.0.0.0/4 dev {inner_right.name}",
        f"route add default dev {inner_left.name}",
    )
    assert routing_interface(udp, "192.0.2.200") == "192.0.2.77"
    assert routing_interface(udp, "224.1.2.3") == inner_right.ipv4
    assert routing_interface(udp, "255.255.255.255") == inner_left.ipv4
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        assert routing_interface(elsewhere, right.ipv4) == inner_right.ipv4


def test_the_way_on_the_link_itself(pair: tuple[Port, Port], udp6: socket.socket) -> None:
    local, _ = pair
    local.host.ip(f"addr add fe80::1/64 dev {local.name} nodad")
    for scope in (local.index, local.name):
        assert routing_interface(udp6, f"fe80::2%{scope}") == f"fe80::1%{local.index}"


@pytest.mark.parametrize(
    ("route", "symbol"),
    [
        (None, "WSAENETUNREACH"),
        ("unreachable 203.0.113.0/24", "WSAEHOSTUNREACH"),
        ("prohibit 203.0.113.0/24", "WSAEACCES"),
    ],
)
def test_no_way(
    pair: tuple[Port, Port],
    udp: socket.socket,
    route: str | None,
    symbol: str,
    fails_with: FailsWith,
) -> None:
    local, _ = pair
    if route is not None:
        local.host.ip(f"route add {route}")
    if symbol == "WSAEACCES":
        with fails_with(symbol, ROUTING):
            routing_interface(udp, "203.0.113.1")
    else:
        assert refused(lambda: routing_interface(udp, "203.0.113.1")).symbol == symbol


@pytest.mark.parametrize(
    "destination", ["", "localhost", "1.2", "127.0.0.1:80", "::1::", "300.0.0.1", "fe80::1%", "\0"]
)
def test_what_is_no_address(udp: socket.socket, destination: str, fails_with: FailsWith) -> None:
    with fails_with("WSAEINVAL", ROUTING) as caught:
        routing_interface(udp, destination)
    assert "numeric" in caught.value.hint


@linux
def test_an_address_of_another_family(
    udp: socket.socket, udp6: socket.socket, fails_with: FailsWith
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        for sock, destination in (
            (udp, "::1"),
            (udp6, "127.0.0.1"),
            (local, "127.0.0.1"),
            (udp6, "fe80::1%no-such-interface"),
        ):
            with fails_with("WSAEINVAL", ROUTING) as caught:
                routing_interface(sock, destination)
            assert "family" in caught.value.hint


# ---------------------------------------------------------------------------------------------
# SIO_BASE_HANDLE


@linux
def test_the_base_handle_is_the_descriptor(tcp: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as local:
        for sock in (tcp, local):
            assert base_handle(sock) == base_handle(sock.fileno()) == sock.fileno()


def test_the_base_handle_is_a_handle_of_the_socket(tcp: socket.socket) -> None:
    handle = base_handle(tcp)
    assert base_handle(handle) == handle
    set_keepalive(handle, True, 60, 1)
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


# ---------------------------------------------------------------------------------------------
# What Winsock answers in bytes

INFO = TcpInfo(
    state=TcpState.ESTABLISHED,
    mss=1460,
    timestamps=True,
    rtt_us=1_500,
    min_rtt_us=900,
    congestion_window=14_600,
    send_window=65_280,
    bytes_out=0x1_0000_0001,
    bytes_in=0x2_0000_0002,
    bytes_retransmitted=2_920,
)

# https://learn.microsoft.com/windows/win32/api/mstcpip/ns-mstcpip-tcp_info_v0: ULONG64 lies on a
# multiple of 8, ULONG on one of 4.
TCP_INFO_BYTES = b"".join(
    [
        (4).to_bytes(4, "little"),  # State: TCPSTATE_ESTABLISHED
        (1460).to_bytes(4, "little"),  # Mss
        (12_345).to_bytes(8, "little"),  # ConnectionTimeMs
        b"\x01\xaa\xaa\xaa",  # TimestampsEnabled, and three bytes of nothing
        (1_500).to_bytes(4, "little"),  # RttUs
        (900).to_bytes(4, "little"),  # MinRttUs
        (77).to_bytes(4, "little"),  # BytesInFlight
        (14_600).to_bytes(4, "little"),  # Cwnd
        (65_280).to_bytes(4, "little"),  # SndWnd
        (65_281).to_bytes(4, "little"),  # RcvWnd
        (65_282).to_bytes(4, "little"),  # RcvBuf
        (0x1_0000_0001).to_bytes(8, "little"),  # BytesOut
        (0x2_0000_0002).to_bytes(8, "little"),  # BytesIn
        (5).to_bytes(4, "little"),  # BytesReordered
        (2_920).to_bytes(4, "little"),  # BytesRetrans
        (2).to_bytes(4, "little"),  # FastRetrans
        (3).to_bytes(4, "little"),  # DupAcksIn
        (1).to_bytes(4, "little"),  # TimeoutEpisodes
        b"\x06\xaa\xaa\xaa",  # SynRetrans, and three bytes to a multiple of 8
    ]
)


def test_tcp_info_v0() -> None:
    assert len(TCP_INFO_BYTES) == _structures.TCP_INFO_V0.size == 88
    assert _structures.parse_tcp_info(TCP_INFO_BYTES) == INFO
    # A later version only adds to the end.
    assert _structures.parse_tcp_info(TCP_INFO_BYTES + bytes(48)) == INFO


TCP_STATES = (
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
)


@pytest.mark.parametrize(("number", "name"), list(enumerate(TCP_STATES)))
def test_tcp_states(number: int, name: str) -> None:
    # https://learn.microsoft.com/windows/win32/api/mstcpip/ne-mstcpip-tcpstate
    output = number.to_bytes(4, "little") + TCP_INFO_BYTES[4:]
    assert _structures.parse_tcp_info(output).state is TcpState[name]


def test_tcp_info_without_time_stamps_or_measurement() -> None:
    output = bytearray(TCP_INFO_BYTES)
    output[16] = 0
    output[24:28] = b"\xff\xff\xff\xff"
    info = _structures.parse_tcp_info(bytes(output))
    assert info == dataclasses.replace(INFO, timestamps=False, min_rtt_us=None)


@pytest.mark.parametrize("size", [0, 4, 87])
def test_tcp_info_that_is_incomplete(size: int) -> None:
    with pytest.raises(ValueError, match=f"TCP_INFO_v0 of {size} bytes"):
        _structures.parse_tcp_info(TCP_INFO_BYTES[:size])


def test_what_control_codes_tell_is_not_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        INFO.mss = 1  # type: ignore[misc]


def sockaddr_in(address: str) -> bytes:
    # https://learn.microsoft.com/windows/win32/winsock/sockaddr-2: sin_family 2, sin_port,
    # sin_addr, eight bytes of zero
    return b"\x02\x00" + b"\x00\x50" + socket.inet_aton(address) + bytes(8)


def sockaddr_in6(address: str, scope: int = 0) -> bytes:
    # The same page: sin6_family 23, sin6_port, sin6_flowinfo, sin6_addr, sin6_scope_id
    packed = ipaddress.IPv6Address(address).packed
    return b"\x17\x00" + b"\x00\x50" + b"\0\0\0\7" + packed + scope.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("sockaddr", "address"),
    [
        (sockaddr_in("192.0.2.1"), "192.0.2.1"),
        (sockaddr_in("192.0.2.1") + bytes(112), "192.0.2.1"),  # in a SOCKADDR_STORAGE
        (sockaddr_in6("2001:db8::1"), "2001:db8::1"),
        (sockaddr_in6("fe80::1", 12), "fe80::1%12"),
        (sockaddr_in6("::ffff:192.0.2.1"), "::ffff:192.0.2.1"),
    ],
)
def test_sockaddr(sockaddr: bytes, address: str) -> None:
    parsed = _structures.parse_sockaddr(sockaddr)
    assert ipaddress.ip_address(parsed) == ipaddress.ip_address(address)
    assert parsed.partition("%")[2] == address.partition("%")[2]


@pytest.mark.parametrize(
    ("address", "sockaddr"),
    [
        ("192.0.2.1", sockaddr_in("192.0.2.1")),
        ("2001:db8::1", sockaddr_in6("2001:db8::1")),
        ("fe80::1%12", sockaddr_in6("fe80::1", 12)),
    ],
)
def test_sockaddr_that_is_given(address: str, sockaddr: bytes) -> None:
    packed = _structures.pack_sockaddr(address)
    assert len(packed) == len(sockaddr)
    # All but the port, and the flow information of IPv6, which are zero.
    assert packed[:2] == sockaddr[:2]
    assert packed[2:4] == bytes(2)
    if len(packed) == 16:
        assert packed[4:] == sockaddr[4:]
    else:
        assert packed[4:8] == bytes(4)
        assert packed[8:] == sockaddr[8:]


@pytest.mark.parametrize("address", ["", "localhost", "192.0.2", "fe80::1%eth0"])
def test_sockaddr_of_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"address|int\(\)"):
        _structures.pack_sockaddr(address)


@pytest.mark.parametrize(
    "sockaddr",
    [
        b"",
        b"\x02",
        sockaddr_in("192.0.2.1")[:15],
        sockaddr_in6("2001:db8::1")[:27],
        b"\x01\x00" + bytes(14),
    ],
)
def test_sockaddr_that_is_none(sockaddr: bytes) -> None:
    with pytest.raises(ValueError, match="sockaddr"):
        _structures.parse_sockaddr(sockaddr)


def interface_info(flags: int, address: str, broadcast: str, netmask: str) -> bytes:
    # https://learn.microsoft.com/windows/win32/api/ws2ipdef/ns-ws2ipdef-interface_info
    # iiFlags, and three sockaddr_gen, as large as the largest of their union: 24 bytes
    return flags.to_bytes(4, "little") + b"".join(
        sockaddr_in(each) + b"\xaa" * 8 for each in (address, broadcast, netmask)
    )


def test_interface_info() -> None:
    # The flags of that page, ws2ipdef.h: IFF_UP 1, IFF_BROADCAST 2, IFF_LOOPBACK 4,
    # IFF_POINTTOPOINT 8, IFF_MULTICAST 16
    output = (
        interface_info(0b10011, "192.0.2.1", "255.255.255.255", "255.255.255.0")
        + interface_info(0b10101, "127.0.0.1", "255.255.255.255", "255.0.0.0")
        + interface_info(0b01001, "10.9.0.1", "10.9.0.2", "255.255.255.255")
        + interface_info(0, "198.51.100.1", "255.255.255.255", "255.255.254.0")
    )
    assert len(output) == 4 * 76
    yes, no = True, False
    assert _structures.parse_interface_list(output) == [
        InterfaceInfo("192.0.2.1", "255.255.255.0", "255.255.255.255", yes, yes, no, no, yes),
        InterfaceInfo("127.0.0.1", "255.0.0.0", "255.255.255.255", yes, no, yes, no, yes),
        InterfaceInfo("10.9.0.1", "255.255.255.255", "10.9.0.2", yes, no, no, yes, no),
        InterfaceInfo("198.51.100.1", "255.255.254.0", "255.255.255.255", no, no, no, no, no),
    ]
    assert _structures.parse_interface_list(b"") == []


@pytest.mark.parametrize("size", [1, 75, 77])
def test_interface_info_that_is_incomplete(size: int) -> None:
    with pytest.raises(ValueError, match="INTERFACE_INFO"):
        _structures.parse_interface_list(bytes(size))


def socket_address_list(base: int, pointer_size: int, *sockaddrs: bytes, behind: int = 0) -> bytes:
    """A SOCKET_ADDRESS_LIST as the system writes it to a buffer at ``base``.

    https://learn.microsoft.com/windows/win32/api/ws2def/ns-ws2def-socket_address_list
    """
    if pointer_size == 8:
        head, entry = struct.Struct("<i4x"), struct.Struct("<Qi4x")
    else:
        head, entry = struct.Struct("<i"), struct.Struct("<Ii")
    place = head.size + len(sockaddrs) * entry.size
    output = head.pack(len(sockaddrs))
    for sockaddr in sockaddrs:
        output += entry.pack(base + place, len(sockaddr))
        place += len(sockaddr)
    return output + b"".join(sockaddrs) + bytes(behind)


@pytest.mark.parametrize(("pointer_size", "base"), [(8, 0x7FF6_1234_5678), (4, 0xFFFF_0000)])
@pytest.mark.parametrize("behind", [0, 1, 100])
def test_address_list_whose_buffer_is_gone(pointer_size: int, base: int, behind: int) -> None:
    output = socket_address_list(
        base,
        pointer_size,
        sockaddr_in("192.0.2.1"),
        sockaddr_in("198.51.100.1"),
        sockaddr_in("203.0.113.1"),
        behind=behind,
    )
    assert _structures.parse_address_list(output, pointer_size) == [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
    ]
    output = socket_address_list(
        base,
        pointer_size,
        sockaddr_in6("2001:db8::1"),
        sockaddr_in6("fe80::1", 7),
        behind=behind,
    )
    assert _structures.parse_address_list(output, pointer_size) == ["2001:db8::1", "fe80::1%7"]


@pytest.mark.parametrize("pointer_size", [4, 8])
def test_address_list_in_any_order_and_with_room_between(pointer_size: int) -> None:
    base, storage = 0x10000, 128
    place = pointer_size + 3 * 2 * pointer_size
    entry = struct.Struct("<Qi4x" if pointer_size == 8 else "<Ii")
    output = (3).to_bytes(pointer_size, "little")
    for position in (2, 0, 1):  # the first entry points to the last sockaddr
        output += entry.pack(base + place + position * storage, 16)
    for number in (1, 2, 3):
        output += sockaddr_in(f"192.0.2.{number}").ljust(storage, b"\0")
    listed = _structures.parse_address_list(output, pointer_size)
    assert listed == ["192.0.2.3", "192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize("pointer_size", [4, 8])
def test_address_list_that_is_empty(pointer_size: int) -> None:
    assert _structures.parse_address_list(bytes(pointer_size), pointer_size) == []


@pytest.mark.parametrize("pointer_size", [4, 8])
def test_address_list_that_is_incomplete(pointer_size: int) -> None:
    whole = socket_address_list(
        4096, pointer_size, sockaddr_in("192.0.2.1"), sockaddr_in("192.0.2.2")
    )
    for size in range(len(whole)):
        with pytest.raises(ValueError, match=r"incomplete|too few|out of itself"):
            _structures.parse_address_list(whole[:size], pointer_size)
    for count in (-(2**31), -1, 3, 2**31 - 1):
        wrong = struct.pack("<i", count) + whole[4:]
        with pytest.raises(ValueError, match=r"too few|out of itself|none of IPv4"):
            _structures.parse_address_list(wrong, pointer_size)
    for length in (-1, 2**31 - 1):
        place = 2 * pointer_size  # of the first iSockaddrLength
        wrong = whole[:place] + struct.pack("<i", length) + whole[place + 4 :]
        with pytest.raises(ValueError, match="out of itself"):
            _structures.parse_address_list(wrong, pointer_size)


# ---------------------------------------------------------------------------------------------
# The page of the codes


def rows_of_the_page() -> dict[str, list[str]]:
    """The cells behind the name of each code in ``docs/control-codes.md``."""
    page = (Path(__file__).parent.parent / "docs" / "control-codes.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| \[?`(\w+)`(?:\]\(\S+\))? \| (.*) \|$", page, re.M)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in found}


def test_the_page_of_control_codes_has_them_all() -> None:
    values = {name: int(cells[0], 16) for name, cells in rows_of_the_page().items()}
    assert values == {code.name: code.value for code in ControlCode}


def test_the_page_of_control_codes_has_the_wrappers_as_they_are() -> None:
    for name, cells in rows_of_the_page().items():
        wrapper = cells[4].strip("`")
        if wrapper:
            function, parameters = wrapper.removesuffix(")").split("(")
            actual = inspect.signature(getattr(winsockctl, function)).parameters
            assert list(actual) == parameters.replace("=", "").split(", "), name


@linux
@pytest.mark.parametrize("name", [code.name for code in ControlCode])
def test_the_page_of_control_codes_says_what_linux_answers(
    tcp: socket.socket, udp: socket.socket, name: str
) -> None:
    *_, wrapper, answer = rows_of_the_page()[name]
    code = ControlCode[name]
    if answer.startswith(("WSAEOPNOTSUPP", "the wrapper", "`start_ioctl`")):
        assert bool(wrapper) or answer == "WSAEOPNOTSUPP"
        for sock in (tcp, udp) if name != "SIO_LOOPBACK_FAST_PATH" else (tcp,):
            assert refused(lambda sock=sock: ioctl(sock, code, bytes(4))).symbol == "WSAEOPNOTSUPP"
    elif "WSAEINVAL" in answer:
        assert refused(lambda: ioctl(tcp, code, bytes(4))).symbol == "WSAEINVAL"
    else:
        ioctl(tcp, code, bytes(12) if wrapper else b"", 0 if wrapper else 4)


def test_raw_socket_stays_what_it_is_for_codes_of_multicast() -> None:
    with RawSocket.replay([]) as raw:
        for call in (set_rcvall_mcast, set_rcvall_igmpmcast):
            assert refused(lambda call=call: call(raw, RcvAll.ON)).symbol in (
                "WSAEOPNOTSUPP",
                "WSAEINVAL",
            )
        assert raw.mode == RcvAll.OFF
