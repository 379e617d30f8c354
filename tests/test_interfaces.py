"""interfaces(): what the system says, and what can be captured."""

import socket
import struct
import sys

import pytest
from conftest import FailsWith
from network import PATIENCE, Namespace, Port, talk

from winsockctl import Capture, ControlCode, Interface, RawSocket, RcvAll, interfaces
from winsockctl.cli import main


def from_system(host: Namespace) -> list[Interface]:
    """The same, as ip(8) tells it."""
    return sorted(
        (
            Interface(
                name=entry["ifname"],
                index=entry["ifindex"],
                description=entry.get("ifalias", ""),
                addresses=tuple(address["local"] for address in entry["addr_info"]),
                up="UP" in entry["flags"],
                loopback="LOOPBACK" in entry["flags"],
            )
            for entry in host.describe("address", "show")
        ),
        key=lambda interface: interface.index,
    )


def test_interfaces_are_those_of_the_system(router: tuple[Port, Port, Port, Port]) -> None:
    _, inner_left, inner_right, _ = router
    host = inner_left.host
    host.ip(
        "link add down0 type veth peer name down1",
        f"addr add 192.0.2.200/24 dev {inner_left.name}",
        f"addr add 2001:db8:ffff::1/64 dev {inner_left.name} nodad",
        f"addr add fe80::1/64 dev {inner_right.name} nodad",
        "link set lo up",
    )
    listed = interfaces()
    assert listed == from_system(host)
    assert {interface.name for interface in listed if not interface.up} == {"down0", "down1"}
    assert [interface.name for interface in listed if interface.loopback] == ["lo"]
    assert "fe80::1" in {i.name: i for i in listed}[inner_right.name].addresses


def test_interfaces_follow_the_system(pair: tuple[Port, Port]) -> None:
    local, _ = pair
    assert [interface.name for interface in interfaces()] == ["lo", "eth0"]
    local.host.ip("link set eth0 down", "link set eth0 name renamed0", "addr flush dev renamed0")
    (renamed,) = (interface for interface in interfaces() if not interface.loopback)
    assert renamed == Interface("renamed0", local.index, "", (), up=False, loopback=False)
    local.host.ip("link del renamed0")
    assert [interface.name for interface in interfaces()] == ["lo"]


def test_interfaces_of_this_machine_as_it_is() -> None:
    # Whatever it has: the loopback is among it, and is the first (Linux: LOOPBACK_IFINDEX).
    assert [interface.index for interface in interfaces() if interface.loopback] == [1]


def test_interfaces_have_addresses_that_can_be_bound_to() -> None:
    listed = interfaces()
    assert [interface.index for interface in listed] == sorted({i.index for i in listed})
    for interface in listed:
        assert interface.name
        assert interface.up or not interface.loopback
        for address in interface.addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            scope = interface.index if address.startswith("fe80:") else 0
            with socket.socket(family, socket.SOCK_DGRAM) as udp:
                udp.bind((address, 0) if family == socket.AF_INET else (address, 0, 0, scope))


def test_the_loopback_can_be_captured_by_name_index_and_address(
    loopback: Port, rcvall: object
) -> None:
    for told in (loopback.name, loopback.index, loopback.ipv4, loopback.ipv6):
        with Capture(told, mode=RcvAll.ON) as capture:
            assert capture.mode is RcvAll.ON
            family = socket.AF_INET6 if told == loopback.ipv6 else socket.AF_INET
            talk(loopback, loopback, [b"winsockctl"], family)
            (datagram,) = capture.read(PATIENCE).datagrams()
            assert datagram.interface_index == loopback.index


def test_interfaces_can_each_be_captured_by_name_index_and_address(
    router: tuple[Port, Port, Port, Port],
) -> None:
    for interface in interfaces():
        for told in (interface.name, interface.index, *interface.addresses):
            with Capture(told, mode=RcvAll.ON) as capture:
                assert capture.mode is RcvAll.ON
                family = socket.AF_UNSPEC
                if told in interface.addresses:
                    family = socket.AF_INET6 if ":" in str(told) else socket.AF_INET
                assert capture.family == family


def test_interfaces_that_are_down_cannot_be_captured(
    pair: tuple[Port, Port], fails_with: FailsWith
) -> None:
    local, _ = pair
    local.host.ip(f"link set {local.name} down")
    (down,) = (interface for interface in interfaces() if not interface.up)
    with fails_with("WSAENETDOWN", "bind") as caught:
        Capture(down.name)
    assert "up" in caught.value.hint


def test_interfaces_index_is_that_of_the_datagrams(
    pair: tuple[Port, Port], live_backend: str
) -> None:
    local, neighbour = pair
    (listed,) = (interface for interface in interfaces() if not interface.loopback)
    with RawSocket(socket.AF_INET, backend=live_backend) as raw:
        raw.bind(listed.index)
        raw.ioctl(ControlCode.SIO_RCVALL, struct.pack("=I", RcvAll.IPLEVEL))
        talk(neighbour, local, [b"winsockctl index"], socket.AF_INET)
        assert {d.interface_index for d in raw.receive().datagrams()} == {listed.index}


@pytest.mark.parametrize(
    ("name", "typed"), [("eth0", "eth0"), ("Ethernet", "Ethernet"), ("Wi-Fi 2", '"Wi-Fi 2"')]
)
def test_interfaces_next_command_can_be_typed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, typed: str
) -> None:
    listed = [Interface(name, 7, "an adapter", ("192.0.2.1",), up=True, loopback=False)]
    monkeypatch.setattr("winsockctl.cli.interfaces.interfaces", lambda: listed)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["interfaces"]) == 0
    assert capsys.readouterr().out.endswith(f"\nNext: winsockctl capture {typed}\n")


@pytest.mark.parametrize("count", [0, 1, 40])
def test_interfaces_with_many_addresses(pair: tuple[Port, Port], count: int) -> None:
    local, _ = pair
    local.host.ip(
        "addr flush dev eth0", *(f"addr add 10.0.{n}.1/24 dev eth0" for n in range(count))
    )
    assert interfaces()[1].addresses == tuple(f"10.0.{n}.1" for n in range(count))
