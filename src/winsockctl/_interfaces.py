"""The network interfaces of this machine."""

from dataclasses import dataclass

from winsockctl import _winsockctl


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface, as the system knows it now."""

    name: str
    """What to give to ``Capture``; on Windows the friendly name, as "Ethernet". The name of the
    adapter, a GUID in braces, is understood there as well."""
    index: int
    """The number of the interface, from 1."""
    description: str
    """What kind of adapter it is, as Windows tells; empty on Linux."""
    addresses: tuple[str, ...]
    """IPv4 and IPv6 addresses, without prefix length or scope."""
    up: bool
    """Whether it is switched on: nothing can be captured on one that is not."""
    loopback: bool
    """Whether it is the machine's own loopback."""


def interfaces() -> list[Interface]:
    """Return the interfaces that can be named to ``Capture``, ordered by index.

    Raises:
        WinsockError: if the system does not list them (Linux: getifaddrs(3)).
    """
    return [Interface(*fields) for fields in _winsockctl.interfaces()]
