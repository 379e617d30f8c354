"""The IPv6 header that Windows keeps back, rebuilt (R11): the C of core/ by itself, without Python.

Whole datagrams lose their header and get it back from what Windows tells besides.
"""

import collections
import ctypes
import random
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path

import network
import pytest
from datagrams import ICMPV6, icmp_echo, ipv6, tcp, udp
from network import PATIENCE, Port, marked, talk

from winsockctl import Capture

SOURCES = Path(__file__).parent.parent / "src"
HEADER = 40
NO_NEXT_HEADER = 59
REBUILT, NEXT_HEADER, HOP_LIMIT, TRAFFIC_CLASS, FLOW_LABEL, DESTINATION = 2, 4, 8, 16, 32, 64

pytestmark = [
    pytest.mark.linux,  # plain C: what it makes on Windows is seen in what is captured there
    pytest.mark.skipif(shutil.which("cc") is None, reason="the C compiler is missing"),
]


class Facts(ctypes.Structure):
    """ipv6_facts_t"""

    _fields_ = (
        ("source", ctypes.c_uint8 * 16),
        ("destination", ctypes.c_uint8 * 16),
        ("has_destination", ctypes.c_bool),
        ("hop_limit", ctypes.c_int),
        ("traffic_class", ctypes.c_int),
        ("flow_label", ctypes.c_int32),
    )


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("core") / "core.so"
    source = SOURCES / "core" / "ipv6_header.c"
    subprocess.run(
        ["cc", "-std=c11", "-O2", "-shared", "-fPIC", f"-I{SOURCES}", source, "-o", library],
        env=network.tool_environment(),
        check=True,
    )
    loaded = ctypes.CDLL(str(library))
    loaded.ipv6_header_rebuild.restype = ctypes.c_uint16
    loaded.ipv6_header_is_there.restype = ctypes.c_bool
    return loaded


Rebuild = Callable[..., tuple[bytes, int]]


@pytest.fixture
def rebuild(core: ctypes.CDLL) -> Rebuild:
    def call(
        datagram: bytes,
        *,
        hop_limit: int | None = None,
        traffic_class: int | None = None,
        flow_label: int | None = None,
        has_destination: bool = True,
        captured: int | None = None,
    ) -> tuple[bytes, int]:
        payload = datagram[HEADER:]
        facts = Facts(
            (ctypes.c_uint8 * 16)(*datagram[8:24]),
            (ctypes.c_uint8 * 16)(*(datagram[24:40] if has_destination else bytes(16))),
            has_destination,
            datagram[7] if hop_limit is None else hop_limit,
            first_word(datagram) >> 20 & 0xFF if traffic_class is None else traffic_class,
            -1 if flow_label is None else flow_label,
        )
        here = len(payload) if captured is None else captured
        # A buffer of its own size: a sanitizer sees whoever reads behind it.
        bytes_here = (ctypes.c_uint8 * max(here, 1)).from_buffer_copy(payload[:here].ljust(1))
        out = (ctypes.c_uint8 * HEADER)()
        flags = core.ipv6_header_rebuild(out, ctypes.byref(facts), bytes_here, here, len(payload))
        return bytes(out), flags

    return call


def first_word(datagram: bytes) -> int:
    word: int = struct.unpack_from("!I", datagram)[0]
    return word


def varied(count: int) -> list[bytes]:
    """Datagrams of three protocols whose every header field and length varies."""
    rng = random.Random(8200)
    made = []
    for i in range(count):
        source, destination = (str(IPv6Address(rng.getrandbits(128))) for _ in range(2))
        payload = rng.randbytes(rng.choice((0, 1, 2, 3, rng.randrange(1460), rng.randrange(9000))))
        between = {"source": source, "destination": destination}
        ports = {
            "source_port": rng.randrange(1, 2**16),
            "destination_port": rng.randrange(1, 2**16),
        }
        maker = (udp, tcp, icmp_echo)[i % 3]
        datagram = bytearray(maker(payload, **between, **({} if maker is icmp_echo else ports)))
        struct.pack_into("!I", datagram, 0, 6 << 28 | rng.getrandbits(8) << 20)
        datagram[7] = rng.randrange(256)
        made.append(bytes(datagram))
    return made


def test_r11_rebuilt_headers_equal_the_originals(rebuild: Rebuild) -> None:
    datagrams = varied(12_000)
    assert len(set(datagrams)) == len(datagrams)
    wrong = [
        datagram[:HEADER].hex()
        for datagram in datagrams
        if rebuild(datagram) != (datagram[:HEADER], REBUILT | FLOW_LABEL)
    ]
    assert wrong == []


def captured_ipv6(local: Port, neighbour: Port) -> list[bytes]:
    """What the right host of a cable sends in three protocols, as it comes to the left one."""
    first, last = marked("begin", 1)[0], marked("end", 1)[0]
    rng = random.Random(4443)
    payloads = [rng.randbytes(rng.choice((1, 2, 3, 100, 1400))) for _ in range(40)]
    with Capture("eth0", family=socket.AF_INET6, buffer_size=4 * 2**20) as capture:
        talk(neighbour, local, [first, *payloads], socket.AF_INET6)
        exchange_over_tcp(neighbour, local, payloads)
        neighbour.host.ip(f"addr add 2001:db8:77::7/64 dev {neighbour.name}")  # seen: its reports
        with neighbour.host, socket.socket(socket.AF_INET6, socket.SOCK_RAW, ICMPV6) as pinger:
            pinger.settimeout(PATIENCE)
            for number in range(20):
                echo = struct.pack("!BBHHH", 128, 0, 0, 4443, number) + payloads[number]
                pinger.sendto(echo, (local.ipv6, 0))  # the kernel calculates the checksum
                reply = b""
                while reply[:1] + reply[4:8] != b"\x81" + echo[4:8]:
                    reply = pinger.recv(65535)
        talk(neighbour, local, [last], socket.AF_INET6)
        datagrams = []
        while not any(last in datagram for datagram in datagrams[-100:]):
            batch = capture.read(PATIENCE)
            assert batch, "the last datagram did not come"
            datagrams += map(bytes, batch)
    return datagrams


def exchange_over_tcp(client: Port, server: Port, payloads: list[bytes]) -> None:
    """Send the payloads over a connection and read each back."""
    with server.host:
        listener = socket.create_server((server.ipv6, 0), family=socket.AF_INET6)
    with listener, client.host, socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as near:
        near.settimeout(PATIENCE)
        near.connect(listener.getsockname()[:2])
        far, _ = listener.accept()
        with far:
            for payload in payloads:
                near.sendall(payload)
                got = b""
                while len(got) < len(payload):
                    got += far.recv(65535)
                far.sendall(got)
                while got:
                    got = got[len(near.recv(65535)) :]


@pytest.fixture
def real_ipv6(pair: tuple[Port, Port]) -> list[bytes]:
    return captured_ipv6(*pair)


def test_r11_real_traffic_without_its_headers_gets_them_back(
    real_ipv6: list[bytes], rebuild: Rebuild
) -> None:
    settled: collections.Counter[int] = collections.Counter()
    for datagram in real_ipv6:
        flow_label = first_word(datagram) & 0xFFFFF
        header, flags = rebuild(datagram, flow_label=flow_label)
        if datagram[6] in (socket.IPPROTO_UDP, socket.IPPROTO_TCP, ICMPV6):
            # Whether the sender's adapter was left the checksum or not.
            assert (header, flags) == (datagram[:HEADER], REBUILT)
            settled[datagram[6]] += 1
        else:  # an extension header: Windows strips it too, and no checksum tells of it
            assert header[:6] + header[7:] == datagram[:6] + datagram[7:HEADER]
            assert (header[6], flags) == (NO_NEXT_HEADER, REBUILT | NEXT_HEADER)
        header, flags = rebuild(datagram, hop_limit=-1, traffic_class=-1)
        assert flags & (HOP_LIMIT | TRAFFIC_CLASS | FLOW_LABEL)
        assert header[8:] == datagram[8:HEADER]
        assert header[4:6] == datagram[4:6]
    assert settled[socket.IPPROTO_UDP] >= 42
    assert settled[socket.IPPROTO_TCP] >= 80
    assert settled[ICMPV6] >= 40


def test_the_sum_of_the_pseudo_header_tells_as_much(rebuild: Rebuild) -> None:
    for datagram in varied(600):
        protocol, payload = datagram[6], datagram[HEADER:]
        if protocol == socket.IPPROTO_ICMPV6:
            continue  # adapters do not calculate it
        pseudo = datagram[8:40] + struct.pack("!IxxxB", len(payload), protocol)
        total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        place = HEADER + (6 if protocol == socket.IPPROTO_UDP else 16)
        offloaded = datagram[:place] + struct.pack("!H", total) + datagram[place + 2 :]
        assert rebuild(offloaded) == (datagram[:HEADER], REBUILT | FLOW_LABEL)


def test_what_no_checksum_settles_is_marked_and_not_guessed(rebuild: Rebuild) -> None:
    for datagram in varied(300):
        spoilt = datagram[:-1] + bytes([datagram[-1] ^ 0x55])
        header, flags = rebuild(spoilt)
        assert header[6] == NO_NEXT_HEADER
        assert flags == REBUILT | FLOW_LABEL | NEXT_HEADER
        assert header[:6] + header[7:] == datagram[:6] + datagram[7:HEADER]
    unknown = ipv6(bytes(100), 132, source="2001:db8::1", destination="2001:db8::2")
    assert rebuild(unknown)[0][6] == NO_NEXT_HEADER


def test_a_truncated_datagram_cannot_be_settled(rebuild: Rebuild) -> None:
    datagram = udp(bytes(200), source="2001:db8::1", destination="2001:db8::2")
    for captured in (0, 1, 7, 8, 207):
        header, flags = rebuild(datagram, captured=captured)
        assert header[6] == NO_NEXT_HEADER
        assert flags & NEXT_HEADER
        assert header[4:6] == datagram[4:6]  # the length is the original one


def test_each_unknown_field_is_marked(rebuild: Rebuild) -> None:
    datagram = udp(b"payload", source="2001:db8::1", destination="2001:db8::2")
    assert rebuild(datagram, hop_limit=-1)[1] == REBUILT | FLOW_LABEL | HOP_LIMIT
    assert rebuild(datagram, traffic_class=-1)[1] == REBUILT | FLOW_LABEL | TRAFFIC_CLASS
    assert rebuild(datagram, has_destination=False)[1] == (
        REBUILT | FLOW_LABEL | DESTINATION | NEXT_HEADER
    )
    header, flags = rebuild(datagram, flow_label=0xABCDE)
    assert (first_word(header) & 0xFFFFF, flags) == (0xABCDE, REBUILT)


def test_a_header_that_is_there_is_seen(core: ctypes.CDLL) -> None:
    for datagram in varied(300):
        assert core.ipv6_header_is_there(datagram, len(datagram), len(datagram), datagram[8:24])
        payload = datagram[HEADER:]
        assert not core.ipv6_header_is_there(payload, len(payload), len(payload), datagram[8:24])
        assert not core.ipv6_header_is_there(datagram, 39, len(datagram), datagram[8:24])
