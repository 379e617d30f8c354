"""Windows Firewall's settings and rules, read from the registry; nothing is changed.

Unlike what ``netsh`` prints, they are in no one's language there.
https://learn.microsoft.com/openspecs/windows_protocols/ms-gpfas/
"""

from __future__ import annotations

import sys
import winreg
from typing import TYPE_CHECKING, Any

from winsockctl.cli.firewall import PROFILES, Firewall, Profile, Rule, parse_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

assert sys.platform == "win32"

LOCAL = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy"
POLICY = r"SOFTWARE\Policies\Microsoft\WindowsFirewall"
_LOCAL_KEYS = {"Private": "StandardProfile"}


def read(
    hive: int = winreg.HKEY_LOCAL_MACHINE, local: str = LOCAL, policy: str = POLICY
) -> Firewall | None:
    """Return the firewall of this machine; ``None`` if it has none.

    Args:
        hive: the root of both keys.
        local: the key of the settings and rules that were made on this machine.
        policy: the key of those that came by group policy, which win.
    """
    try:
        winreg.OpenKey(hive, local).Close()
    except FileNotFoundError:
        return None
    return Firewall(
        profiles={
            name: _profile(
                {
                    **dict(_values(hive, rf"{local}\{_LOCAL_KEYS.get(name, name + 'Profile')}")),
                    **dict(_values(hive, rf"{policy}\{name}Profile")),
                }
            )
            for name in PROFILES
        },
        rules=_rules(hive, local),
        policy_rules=_rules(hive, policy),
    )


def _profile(values: dict[str, Any]) -> Profile:
    return Profile(
        on=values.get("EnableFirewall", 1) != 0,
        blocks=values.get("DefaultInboundAction", 1) != 0,
        ignores_rules=values.get("DoNotAllowExceptions", 0) != 0,
        local_rules=values.get("AllowLocalPolicyMerge", 1) != 0,
    )


def _rules(hive: int, key: str) -> list[Rule]:
    texts = (value for _, value in _values(hive, rf"{key}\FirewallRules"))
    rules = (parse_rule(text) for text in texts if isinstance(text, str))
    return [rule for rule in rules if rule is not None]


def _values(hive: int, path: str) -> Iterator[tuple[str, Any]]:
    try:
        key = winreg.OpenKey(hive, path)
    except FileNotFoundError:
        return
    with key:
        for position in range(winreg.QueryInfoKey(key)[1]):
            name, value, _ = winreg.EnumValue(key, position)
            yield name, value
