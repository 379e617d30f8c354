"""Interfaces on Windows: what GetAdaptersAddresses tells, and every way to name one to a socket."""

import ctypes
import re
import socket
import sys
from collections.abc import Iterator

import pytest

if sys.platform != "win32":
    pytest.skip("needs the adapters of Windows", allow_module_level=True)

from hook import Hook

from winsockctl import Interface, RawSocket, WinsockError, _winsockctl, interfaces

GUID = re.compile(r"\{[0-9A-Fa-f-]{36}\}")


def guid_of(index: int) -> str:
    """The name of an adapter, which only the system itself can tell."""
    helper = ctypes.WinDLL("iphlpapi")
    luid, guid = ctypes.c_uint64(), (ctypes.c_uint8 * 16)()
    text = ctypes.create_unicode_buffer(40)
    assert helper.ConvertInterfaceIndexToLuid(index, ctypes.byref(luid)) == 0
    assert helper.ConvertInterfaceLuidToGuid(ctypes.byref(luid), ctypes.byref(guid)) == 0
    assert ctypes.WinDLL("ole32").StringFromGUID2(ctypes.byref(guid), text, len(text)) == 39
    return text.value


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook(_winsockctl) as patched:
        yield patched


@pytest.fixture(params=[interface.name for interface in interfaces() if interface.addresses])
def adapter(request: pytest.FixtureRequest) -> Interface:
    (found,) = (interface for interface in interfaces() if interface.name == request.param)
    return found


def test_interfaces_show_the_friendly_name_and_the_description() -> None:
    listed = interfaces()
    assert any(interface.loopback for interface in listed)
    for interface in listed:
        assert interface.name
        assert not GUID.fullmatch(interface.name)
        assert interface.description
        assert interface.index == socket.if_nametoindex(socket.if_indextoname(interface.index))


def test_every_way_to_name_an_interface_binds_to_its_address(
    hook: Hook, adapter: Interface
) -> None:
    address = adapter.addresses[0]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    place = 8 if family == socket.AF_INET6 else 4  # in the sockaddr
    for told in (adapter.name, adapter.index, str(adapter.index), guid_of(adapter.index), address):
        hook.forget()
        with RawSocket(family) as raw:
            raw.bind(told)
        (bound,) = (call for call in hook.calls if call.function == "bind")
        assert bound.input[place:].startswith(socket.inet_pton(family, address)), told


@pytest.mark.parametrize("name", ["Ethernet 77", "{00000000-0000-0000-0000-000000000000}", "", "{"])
def test_a_name_that_no_interface_has(hook: Hook, name: str) -> None:
    with RawSocket(socket.AF_INET) as raw:
        with pytest.raises((WinsockError, ValueError)) as caught:
            raw.bind(name)
        if isinstance(caught.value, WinsockError):
            assert caught.value.symbol == "WSAEADDRNOTAVAIL"
            assert "winsockctl interfaces" in caught.value.hint
    assert hook.count("bind") == 0
