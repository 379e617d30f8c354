"""The commands for the person at the keyboard, on Windows: doctor, demo, interfaces.

Wine has no raw socket of IPPROTO_IP, which is a clear message; with the hook, which opens one of
another protocol, real datagrams are captured.
"""

import os
import re
import sys
from collections.abc import Iterator

import pytest

if sys.platform != "win32":
    pytest.skip("needs the system calls of Windows", allow_module_level=True)

import ctypes
import secrets
import winreg

from hook import Hook

from winsockctl import ControlCode, _winsockctl, interfaces
from winsockctl.cli import _doctor_windows, firewall_registry, main
from winsockctl.cli.firewall import PROFILES, Profile, judge

TCP, UDP = 6, 17
DATAGRAM = re.compile(r"\d\d:\d\d:\d\d\.\d{6} \S+ > \S+ (\S+) .*length \d+")


@pytest.fixture
def hook() -> Iterator[Hook]:
    if "WINSOCKCTL_HOOK" not in os.environ:
        pytest.skip("needs the hook: WINSOCKCTL_HOOK is not set")
    with Hook(_winsockctl) as patched:
        yield patched


# -------------------------------------------------------------------------------------------------
# the registry


class Registry:
    """Keys of the test's own below HKEY_CURRENT_USER."""

    def __init__(self) -> None:
        self.root = rf"Software\winsockctl-test-{secrets.token_hex(8)}"
        self.local, self.policy = rf"{self.root}\local", rf"{self.root}\policy"

    def write(self, key: str, **values: int | str) -> None:
        with winreg.CreateKey(winreg.HKEY_CURRENT_USER, key) as opened:
            for name, value in values.items():
                kind = winreg.REG_DWORD if isinstance(value, int) else winreg.REG_SZ
                winreg.SetValueEx(opened, name, 0, kind, value)

    def read(self) -> firewall_registry.Firewall | None:
        return firewall_registry.read(winreg.HKEY_CURRENT_USER, self.local, self.policy)

    def remove(self, key: str) -> None:
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key, 0, winreg.KEY_ALL_ACCESS) as opened:
            while winreg.QueryInfoKey(opened)[0]:
                self.remove(rf"{key}\{winreg.EnumKey(opened, 0)}")
        winreg.DeleteKey(winreg.HKEY_CURRENT_USER, key)


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    registry.write(registry.root)
    yield registry
    registry.remove(registry.root)


def test_a_system_without_the_keys_has_no_windows_firewall(registry: Registry) -> None:
    assert registry.read() is None


def test_settings_that_are_not_written_are_those_of_a_new_windows(registry: Registry) -> None:
    registry.write(registry.local)
    found = registry.read()
    assert found is not None
    assert found.profiles == dict.fromkeys(PROFILES, Profile())
    assert (found.rules, found.policy_rules) == ([], [])


def test_settings_of_each_profile_are_read_where_windows_keeps_them(registry: Registry) -> None:
    registry.write(rf"{registry.local}\DomainProfile", EnableFirewall=0)
    registry.write(rf"{registry.local}\StandardProfile", EnableFirewall=1, DefaultInboundAction=0)
    registry.write(rf"{registry.local}\PublicProfile", EnableFirewall=1, DoNotAllowExceptions=1)
    found = registry.read()
    assert found is not None
    assert found.profiles == {
        "Domain": Profile(on=False),
        "Private": Profile(blocks=False),
        "Public": Profile(ignores_rules=True),
    }


def test_group_policy_wins(registry: Registry) -> None:
    registry.write(rf"{registry.local}\PublicProfile", EnableFirewall=0, DefaultInboundAction=0)
    registry.write(rf"{registry.local}\StandardProfile", EnableFirewall=0)
    registry.write(rf"{registry.policy}\PublicProfile", EnableFirewall=1, AllowLocalPolicyMerge=0)
    found = registry.read()
    assert found is not None
    assert found.profiles == {
        "Domain": Profile(),
        "Private": Profile(on=False),
        "Public": Profile(blocks=False, local_rules=False),
    }


def test_the_rule_for_this_executable_is_found(registry: Registry) -> None:
    program = _doctor_windows.program()
    rules = {
        "{1}": "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=17|LPort=5353|App=System|Name=x|",
        "{2}": "v2.31|Action=Allow|Active=TRUE|Dir=Out|Name=y|",
        "{3}": 7,
    }
    registry.write(rf"{registry.local}\FirewallRules", **rules)
    state, detail = judge(registry.read(), program)
    assert state == "no"
    command = re.search(r'dir=in action=allow program="([^"]+)"', detail)
    assert command is not None
    assert command[1] == program
    # What the command makes Windows write:
    rule = f"v2.31|Action=Allow|Active=TRUE|Dir=In|App={command[1]}|Name=winsockctl capture|"
    registry.write(rf"{registry.local}\FirewallRules", **{"{4}": rule})
    assert judge(registry.read(), program)[0] == "ok"
    registry.write(rf"{registry.policy}\FirewallRules", **{"{5}": rule.replace("Allow", "Block")})
    state, detail = judge(registry.read(), program)
    assert state == "no"
    assert "delete rule" in detail


def test_the_executable_is_the_one_that_has_the_sockets() -> None:
    name = ctypes.create_unicode_buffer(32768)
    psapi = ctypes.WinDLL("psapi")
    psapi.GetModuleFileNameExW.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_wchar_p, ctypes.c_int]
    assert psapi.GetModuleFileNameExW(ctypes.c_void_p(-1).value, None, name, len(name))
    assert os.path.samefile(_doctor_windows.program(), name.value)


# -------------------------------------------------------------------------------------------------
# doctor


def diagnosis(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]], str]:
    status = main(["doctor"])
    output, errors = capsys.readouterr()
    rows = {row[:36].rstrip(): (row[36:49].rstrip(), row[49:]) for row in output.splitlines()}
    assert {state for state, _ in rows.values()} <= {"ok", "no", "unsupported", "unknown"}
    return status, rows, errors


def test_doctor_tells_what_works(hook: Hook, capsys: pytest.CaptureFixture[str]) -> None:
    status, rows, errors = diagnosis(capsys)
    assert (status, errors) == (0, "")
    for name in ("administrator rights", "raw socket IPv4", "raw socket IPv6", "backend winsock"):
        assert rows[name][0] == "ok", rows[name]
    for name in ("promiscuous mode", "IPv6", "live capture"):
        assert rows[name][0] == "ok", rows[name]
    assert "MiB of buffer" in rows["raw socket IPv4"][1]
    assert rows["SIO_RCVALL_IF"] == ("unknown", "not tried: undocumented")
    for code in ControlCode:
        assert code.name in rows
    for code in ("SIO_RCVALL", "SIO_RCVALL_MCAST", "SIO_LOOPBACK_FAST_PATH", "SIO_KEEPALIVE_VALS"):
        assert rows[code] == ("ok", "")
    for code in ("SIO_ADDRESS_LIST_QUERY", "SIO_ADDRESS_LIST_CHANGE", "SIO_GET_INTERFACE_LIST"):
        assert rows[code] == ("ok", "")
    assert "WSASocketW" not in hook.open_handles.values()


def test_doctor_without_administrator_rights(
    hook: Hook, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook.fail("WSASocketW", 10013, times=10_000)
    status, rows, errors = diagnosis(capsys)
    assert status == 1
    assert "capturing does not work here" in errors
    state, detail = rows["raw socket IPv4"]
    assert state == "no"
    assert "WSAEACCES" in detail
    assert "Run as administrator" in detail
    for name in ("raw socket IPv6", "backend winsock", "live capture", "incoming datagrams"):
        assert rows[name] == ("no", "for the same reason as raw socket IPv4")
    assert rows["SIO_KEEPALIVE_VALS"] == ("ok", "")


@pytest.mark.skipif(
    "WINSOCKCTL_OWN_NETWORK" not in os.environ,
    reason="needs a network without others: WINSOCKCTL_OWN_NETWORK is not set",
)
def test_doctor_sees_its_own_datagrams_where_nothing_else_passes(hook: Hook) -> None:
    state, detail = _doctor_windows.LAST_CHECKS[-1][1]()
    assert state == "unknown"
    assert "nothing came" in detail
    # Nothing of what the interfaces receive gets to the program:
    hook.fail("WSARecv", 10035, times=10_000)
    hook.fail("WSARecvMsg", 10035, times=10_000)
    state, detail = _doctor_windows.LAST_CHECKS[-1][1]()
    assert state == "no"
    assert "not even datagrams that this machine sends to itself" in detail


# -------------------------------------------------------------------------------------------------
# demo


@pytest.mark.parametrize(("protocol", "name", "others"), [(UDP, "UDP", "TCP"), (TCP, "TCP", "UDP")])
def test_demo_shows_what_is_captured_and_names_what_is_not(
    hook: Hook, capsys: pytest.CaptureFixture[str], protocol: int, name: str, others: str
) -> None:
    hook.set_raw_protocol(protocol)
    assert main(["demo"]) == 1
    output, errors = capsys.readouterr()
    shown = [match for row in output.splitlines() if (match := DATAGRAM.fullmatch(row))]
    assert {match[1] for match in shown} == {name}
    for version in (4, 6):
        assert sum(("::1" in match[0]) == (version == 6) for match in shown) >= 8
    assert re.search(rf"^{name} +[1-9]\d* +[1-9]\d*$", output, re.MULTILINE)
    assert re.search(rf"^{others} +0 +0$", output, re.MULTILINE)
    assert "unknown dropped" in output
    assert "messages were sent but not captured" in errors
    assert f"4 {others} over IPv4 request" in errors
    assert f"4 {others} over IPv6 reply" in errors
    assert f" {name} over" not in errors
    assert "winsockctl doctor" in errors


def test_demo_without_administrator_rights_names_the_remedy(
    hook: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    hook.fail("WSASocketW", 10013)
    assert main(["demo"]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert "WSAEACCES" in errors
    assert "Run as administrator" in errors


@pytest.mark.parametrize("code", [10043, 10045])
def test_demo_on_a_system_that_cannot_capture_says_so(
    hook: Hook, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    hook.fail("WSASocketW" if code == 10043 else "WSAIoctl", code)
    assert main(["demo"]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert str(code) in errors
    assert "this system" in errors


# -------------------------------------------------------------------------------------------------
# interfaces


def test_interfaces_is_a_table_of_names_that_can_be_typed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["interfaces"]) == 0
    output, errors = capsys.readouterr()
    heading, *rows = output.splitlines()
    assert errors == ""
    assert heading.split() == ["NAME", "INDEX", "STATE", "LOOPBACK", "ADDRESSES", "DESCRIPTION"]
    assert len(rows) == len(interfaces())
    for interface, row in zip(interfaces(), rows, strict=True):
        assert row.startswith(interface.name)
        assert row.endswith(interface.description)
        assert f" {interface.index} " in row
