"""``winsockctl.scapy``: scapy's own sniff() and AsyncSniffer capture real traffic through us."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from datagrams import mixed
from network import PATIENCE, Port, eventually, marked, talk
from scapy.automaton import ObjectPipe
from scapy.config import conf
from scapy.data import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6
from scapy.error import Scapy_Exception
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from scapy.sendrecv import AsyncSniffer, sniff

from winsockctl import Filter, FilterSyntaxError, WinsockError, interfaces
from winsockctl.scapy import CaptureSocket, use

FAMILIES = (socket.AF_INET, socket.AF_INET6)
SMALL = 4 * 2**20  # bytes; the default of 64 MiB takes a while to get, and no test needs it


@pytest.fixture(autouse=True)
def through_us(rcvall: object) -> Iterator[None]:
    with use(buffer_size=SMALL):
        yield


def payloads(packets: list[Packet]) -> list[bytes]:
    return [bytes(packet[UDP].payload) for packet in packets]


def send(port: Port, payloads: list[bytes], family: int = socket.AF_INET) -> int:
    """Send UDP datagrams from a host to itself, and give the port that they went to."""
    with port.udp(family) as end:
        for payload in payloads:
            end.sendto(payload, end.getsockname()[:2])
        number: int = end.getsockname()[1]
        return number


def sender(port: Port, payloads: list[bytes], family: int = socket.AF_INET) -> Callable[[], int]:
    return lambda: send(port, payloads, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_sniff_dissects_both_families_with_time_direction_and_length(
    loopback: Port, family: int
) -> None:
    sent = marked("sniffed", 5)
    before = time.time_ns()
    packets = sniff(
        iface=loopback.name,
        filter="udp",
        count=len(sent),
        timeout=PATIENCE,
        started_callback=sender(loopback, sent, family),
    )
    assert payloads(packets) == sent
    for packet in packets:
        assert type(packet) is (IP if family == socket.AF_INET else IPv6)
        assert packet.src == packet.dst == loopback.address(family)
        assert packet.sniffed_on == loopback.name
        assert packet.wirelen == len(packet)
        # Nanoseconds, which a float could not hold.
        stamp = Decimal(packet.time) * 10**9
        assert stamp == int(stamp)
        assert before - 50_000_000 <= stamp <= time.time_ns() + 50_000_000
    assert [packet.time for packet in packets] == sorted(packet.time for packet in packets)


@pytest.mark.linux
def test_direction_is_that_of_the_interface(pair: tuple[Port, Port]) -> None:
    here, there = pair

    def exchange() -> None:
        talk(here, there, [b"out"], socket.AF_INET)
        talk(there, here, [b"in"], socket.AF_INET)

    packets = sniff(
        iface=here.name, filter="udp", count=2, timeout=PATIENCE, started_callback=exchange
    )
    assert [(packet[UDP].payload.load, packet.direction) for packet in packets] == [
        (b"out", 2),
        (b"in", 1),
    ]


def test_the_filter_is_ours(loopback: Port) -> None:
    wanted = Filter("udp and greater 100")
    for given in (wanted, wanted.expression):
        packets = sniff(
            iface=loopback.name,
            filter=given,
            count=1,
            timeout=PATIENCE,
            started_callback=sender(loopback, [b"short", b"long" * 25, b"short"]),
        )
        assert payloads(packets) == [b"long" * 25]
    with pytest.raises(FilterSyntaxError, match="arp"):
        sniff(iface=loopback.name, filter="arp", timeout=0.1)


def test_what_scapy_excepts_is_left_out(loopback: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "except_filter", "greater 100")
    options = {"iface": loopback.name, "count": 1, "timeout": PATIENCE}
    mixed_sizes = sender(loopback, [b"long" * 25, b"short"])
    for given in ("udp", None, Filter("udp")):
        packets = sniff(filter=given, started_callback=mixed_sizes, **options)
        assert payloads(packets) == [b"short"]
    packets = sniff(filter="udp", nofilter=1, started_callback=mixed_sizes, **options)
    assert payloads(packets) == [b"long" * 25]
    with pytest.raises(ValueError, match="except_filter"):
        sniff(filter=Filter.from_instructions([(6, 0, 0, 1)]), **options)


def test_prn_store_and_stop_filter(loopback: Port) -> None:
    seen: list[bytes] = []
    packets = sniff(
        iface=loopback.name,
        filter="udp",
        store=False,
        timeout=PATIENCE,
        prn=lambda packet: seen.append(packet[UDP].payload.load),
        stop_filter=lambda packet: packet[UDP].payload.load == b"stop",
        started_callback=sender(loopback, [b"first", b"second", b"stop", b"late"]),
    )
    assert list(packets) == []
    assert seen == [b"first", b"second", b"stop"]


def test_the_timeout_ends_it(loopback: Port) -> None:
    assert list(sniff(iface=loopback.name, filter="udp port 9", timeout=0.2)) == []


def test_an_async_sniffer_is_started_and_stopped(loopback: Port) -> None:
    begun = threading.Event()
    seen: list[Packet] = []
    sniffer = AsyncSniffer(
        iface=loopback.name, filter="udp", prn=seen.append, started_callback=begun.set
    )
    sniffer.start()
    assert begun.wait(PATIENCE)
    sent = marked("async", 3)
    send(loopback, sent)
    assert eventually(lambda: len(seen) == len(sent))
    assert payloads(sniffer.stop()) == sent
    assert not sniffer.thread.is_alive()


def test_a_burst_comes_whole_and_in_order(loopback: Port) -> None:
    sent = marked("burst", 600)
    packets = sniff(
        iface=loopback.name,
        filter="udp",
        count=len(sent),
        timeout=PATIENCE,
        started_callback=sender(loopback, sent),
    )
    assert payloads(packets) == sent


@pytest.mark.linux
def test_several_interfaces_at_once(pair: tuple[Port, Port]) -> None:
    here, there = pair
    host = Port(here.host, "lo", 1, bytes(6), "127.0.0.1", "::1")

    def exchange() -> None:
        talk(there, here, [b"cable"], socket.AF_INET)
        send(host, [b"loopback"])

    packets = sniff(
        iface=["lo", here.name],
        filter="udp",
        count=2,
        timeout=PATIENCE,
        started_callback=exchange,
    )
    assert {packet.sniffed_on: packet[UDP].payload.load for packet in packets} == {
        "lo": b"loopback",
        here.name: b"cable",
    }


@pytest.mark.linux
def test_what_a_neighbour_sends_is_dissected_as_it_was_sent(pair: tuple[Port, Port]) -> None:
    here, there = pair
    sent = mixed(60)
    packets = sniff(
        iface=here.name,
        count=len(sent),
        timeout=PATIENCE,
        started_callback=lambda: there.send_datagrams(here, sent),
    )
    assert [bytes(packet) for packet in packets] == sent


@pytest.mark.parametrize(("type", "family"), [(ETH_P_IP, FAMILIES[0]), (ETH_P_IPV6, FAMILIES[1])])
def test_a_socket_of_one_family(loopback: Port, type: int, family: int) -> None:
    with CaptureSocket(loopback.name, type, filter="udp", buffer_size=SMALL) as end:
        for each in FAMILIES:
            send(loopback, [b"x"], each)
        send(loopback, [b"y"], family)
        assert payloads([end.recv(), end.recv()]) == [b"x", b"y"]


def test_options_of_the_capture_are_taken(loopback: Port) -> None:
    with use(snaplen=48, buffer_size=SMALL):
        packets = sniff(
            iface=loopback.name,
            filter="udp",
            count=1,
            timeout=PATIENCE,
            started_callback=sender(loopback, [bytes(100)]),
        )
    assert (len(bytes(packets[0])), packets[0].wirelen) == (48, 128)
    with pytest.raises(TypeError):
        CaptureSocket(loopback.name, snap=48)


def test_use_has_a_way_back() -> None:
    def of_scapy() -> None:
        pass

    conf.L2listen, ours = of_scapy, conf.L2listen
    try:
        with use():
            assert conf.L2listen is not of_scapy
        assert conf.L2listen is of_scapy
        way_back = use()
        assert conf.L2listen is not of_scapy
        way_back.close()
        assert conf.L2listen is of_scapy
    finally:
        conf.L2listen = ours


def test_promiscuous_mode_is_asked_for_as_scapy_says(
    loopback: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    for default in (True, False):
        monkeypatch.setattr(conf, "sniff_promisc", default)
        for asked, expected in ((None, default), (True, True), (False, False)):
            with CaptureSocket(loopback.name, promisc=asked, buffer_size=SMALL) as end:
                assert (end.promisc, end.capture.mode.name) == (
                    expected,
                    "ON" if expected else "IPLEVEL",
                )


def test_an_interface_may_be_an_address_or_scapys_object(loopback: Port) -> None:
    with CaptureSocket("127.0.0.1", buffer_size=SMALL) as end:
        assert end.capture.family == socket.AF_INET
    for iface in conf.ifaces.values():
        if iface.name == loopback.name:
            with CaptureSocket(iface, buffer_size=SMALL) as end:
                assert end.capture.interface == loopback.name
                break
    else:
        pytest.fail(f"scapy does not list {loopback.name}")


def test_what_cannot_be_is_refused(loopback: Port) -> None:
    with pytest.raises(Scapy_Exception, match="not Ethernet type 0x0806"):
        CaptureSocket(loopback.name, ETH_P_ARP)
    with pytest.raises(Scapy_Exception, match="monitor mode"):
        CaptureSocket(loopback.name, monitor=True)
    with (
        CaptureSocket(loopback.name, buffer_size=SMALL) as end,
        pytest.raises(Scapy_Exception, match="only listens"),
    ):
        end.send(IP())
    unknown = "none of these"
    assert unknown not in {each.name for each in interfaces()}
    with pytest.raises(WinsockError):
        CaptureSocket(unknown)


def test_closing_ends_a_waiting_receive(loopback: Port) -> None:
    with CaptureSocket(loopback.name, filter="udp port 9", buffer_size=SMALL) as end:
        timer = threading.Timer(0.1, end.close)
        timer.start()
        with pytest.raises(EOFError):
            end.recv()
        timer.join()
        end.close()
        assert CaptureSocket.select([end], 0) == [end]


@pytest.mark.linux
def test_r14_a_socket_whose_interface_goes_delivers_and_ends(
    pair: tuple[Port, Port], caplog: pytest.LogCaptureFixture
) -> None:
    here, there = pair

    def exchange() -> None:
        talk(there, here, [b"last"], socket.AF_INET)
        here.host.ip(f"link set {here.name} down")

    packets = sniff(iface=here.name, filter="udp", timeout=PATIENCE, started_callback=exchange)
    assert payloads(packets) == [b"last"]
    assert "WSAENETDOWN" in caplog.text


def test_other_sockets_may_be_selected_beside(loopback: Port) -> None:
    pipe = ObjectPipe[str]("beside")
    with CaptureSocket(loopback.name, filter="udp", buffer_size=SMALL) as end:
        assert CaptureSocket.select([pipe, end], 0) == []
        pipe.send("something")
        assert CaptureSocket.select([pipe, end], PATIENCE) == [pipe]
        send(loopback, [b"both"])
        assert eventually(lambda: CaptureSocket.select([pipe, end], 0) == [pipe, end])
        assert pipe.recv() == "something"
        assert payloads([end.recv()]) == [b"both"]
    pipe.close()


def test_without_scapy_the_import_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['scapy'] = None; import winsockctl.scapy"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == (
        "ImportError: it needs scapy: pip install 'winsockctl[scapy]'"
    )
