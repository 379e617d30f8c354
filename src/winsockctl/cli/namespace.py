"""Running the demo without privilege: in a user and network namespace of its own (Linux)."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

from winsockctl import WinsockError, WinsockPermissionError
from winsockctl.cli.errors import CommandError, naming
from winsockctl.cli.output import say

assert sys.platform == "linux"

_WSAENETDOWN = 10050
_UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--")
_PROBE = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM).close()"
# Kernel settings that forbid it: file below /proc/sys, the forbidding value, one that allows it.
_SETTINGS = (
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user/max_user_namespaces", "0", "15000"),
    ("user/max_net_namespaces", "0", "15000"),
)


def obstacle() -> str:
    """Return why nothing can be captured in a private namespace here; empty if it can."""
    if shutil.which(_UNSHARE[0]) is None:
        return "the program unshare (package util-linux) is missing"
    probe = subprocess.run(
        [*_UNSHARE, sys.executable, "-Ic", _PROBE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode == 0:
        return ""
    return (probe.stderr.strip().splitlines() or [f"exit status {probe.returncode}"])[-1]


def settings_to_change() -> list[str]:
    """Return the commands that lift what the kernel's settings forbid here."""
    return [
        f"sudo sysctl -w {name.replace('/', '.')}={allowing}"
        for name, forbidding, allowing in _SETTINGS
        if _setting(name) == forbidding
    ]


def privilege_remedies() -> list[str]:
    """Return the ways to get the privilege to capture."""
    if os.geteuid() == 0:
        return ["give this root CAP_NET_RAW (container: --cap-add=NET_RAW)"]
    return [
        f"sudo {sys.executable} -m winsockctl demo",
        f"sudo setcap cap_net_raw+ep {Path(sys.executable).resolve()} "
        "(then all its scripts may capture)",
    ]


def namespace_remedies() -> list[str]:
    """Return the ways to be allowed a private namespace."""
    return settings_to_change() or [
        "allow unprivileged user namespaces (kernel.unprivileged_userns_clone=1, "
        "kernel.apparmor_restrict_unprivileged_userns=0, or the container's security profile)"
    ]


def run_demo_instead(error: WinsockError, *, inside: bool) -> int:
    """Run the demo in a private namespace and return its exit status.

    Args:
        error: why it cannot be run here.
        inside: whether here is such a namespace already.

    Raises:
        CommandError: with the ways out, if that is no way out either.
    """
    if isinstance(error, WinsockPermissionError):
        reason, remedies = "no privilege to capture here", privilege_remedies()
    elif error.code == _WSAENETDOWN:
        reason, remedies = "the loopback is switched off here", ["sudo ip link set lo up"]
    else:
        raise error
    if why_not := error.symbol if inside else obstacle():
        remedies += namespace_remedies()
        raise CommandError(
            f"{reason}, and a private namespace is no way out ({why_not}); "
            f"remedies: {'; or '.join(remedies)}"
        ) from error
    say(f"{reason[0].upper()}{reason[1:]}: using a private user and network namespace.")
    command = [*_UNSHARE, sys.executable, "-m", "winsockctl", "demo", "--in-namespace"]
    with subprocess.Popen(command) as demo:
        try:
            status = demo.wait()
        except KeyboardInterrupt:
            # The terminal sends Ctrl-C to the demo as well, and the demo reports it.
            status = demo.wait()
    return 0 if status == 0 else 1


def bring_up_loopback() -> None:
    """Switch on the loopback of this namespace; it begins its life switched off."""
    siocgifflags, siocsifflags, iff_up = 0x8913, 0x8914, 0x1
    with (
        naming("loopback of the private namespace"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control,
    ):
        # struct ifreq: 16 bytes of name, then a union of 24 that begins with the flags.
        # https://man7.org/linux/man-pages/man7/netdevice.7.html
        request = fcntl.ioctl(control, siocgifflags, struct.pack("16sH22x", b"lo", 0))
        name, flags = struct.unpack("16sH22x", request)
        fcntl.ioctl(control, siocsifflags, struct.pack("16sH22x", name, flags | iff_up))


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""
