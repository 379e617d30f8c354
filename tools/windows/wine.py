"""Wine: a Windows of its own in the build folder, and a network of its own to run it in."""

import ctypes
import os
import select
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from steps import ROOT, STEP_LIMIT, Build, FailedError, Step

START_LIMIT = 60.0  # seconds

ADAPTER = "eth0"
NETWORK = f"""
ip link set lo up
ip link add {ADAPTER} type veth peer name eth1
ip address add 192.0.2.1/24 dev {ADAPTER}
ip address add 2001:db8::1/64 dev {ADAPTER} nodad
ip link set {ADAPTER} up
ip link set eth1 up
"""
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000


def enter_network(build: Build) -> bool:
    """Leave the machine's network for an empty one with a loopback and an Ethernet adapter.

    There nothing but the tests sends datagrams, an ordinary user may open raw sockets, and a test
    may change the adapter's addresses.
    """
    user, group = os.geteuid(), os.getegid()
    options = ["--net"] if user == 0 else ["--net", "--map-root-user"]
    try:
        with build.step("network of its own") as step:
            # In a child first: there is no way back.
            step.run(["unshare", *options, "sh", "-ec", NETWORK])
    except FailedError:
        print("## stays in the machine's network", flush=True)
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | (CLONE_NEWUSER if user != 0 else 0)) < 0:
        raise FailedError(f"unshare: {os.strerror(ctypes.get_errno())}")
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    step.run(["sh", "-ec", NETWORK])
    return True


class Wine:
    """Wine with a prefix of its own."""

    def __init__(self, build: Build) -> None:
        self._build = build
        home = build / "home"
        home.mkdir(exist_ok=True)
        kept = ("PATH", "USER", "CI", "TZ")
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if name in kept or name.startswith("WINSOCKCTL_")
        } | {
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "WINEPREFIX": str(build.prefix),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml,winemenubuilder.exe=d",
        }

    def run(
        self,
        step: Step,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
        limit: float = STEP_LIMIT,
        check: bool = True,
    ) -> int:
        """Run a Windows program like Step.run()."""
        return step.run(
            ["wine", *command],
            environment={**self._environment, **(environment or {})},
            folder=folder,
            limit=limit,
            check=check,
        )

    def python(
        self,
        step: Step,
        version: str,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
        limit: float = STEP_LIMIT,
        check: bool = True,
    ) -> int:
        """Run ``python -m MODULE`` like Step.run()."""
        cache = {"PYTHONPYCACHEPREFIX": self.path(self._build / f"pycache-{version}")}
        return self.run(
            step,
            [self._build.python(version) / "python.exe", "-m", module, *arguments],
            environment={**cache, **(environment or {})},
            folder=folder,
            limit=limit,
            check=check,
        )

    def make_prefix(self) -> None:
        """Make Wine's Windows, unless it is there."""
        stamp = self._build.stamp("wine", "win10")
        if stamp.holds():
            return
        with self._build.step("Wine prefix") as step:
            shutil.rmtree(self._build.prefix, ignore_errors=True)
            self.run(step, ["wineboot", "--init"])
            version = ["/v", "Version", "/d", "win10", "/f"]
            self.run(step, ["reg", "add", "HKCU\\Software\\Wine", *version])
        stamp.set()

    @contextmanager
    def kept_up(self) -> Iterator[None]:
        """Keep Wine up with an idle process; with it end all others, however this process ends.

        Until the idle process answers, Wine's services are not up, and whoever started them would
        lend them its standard handles.
        """
        with subprocess.Popen(
            ["sh", "-c", "wine cmd /q /k 'echo ready'; wineserver --kill; wineserver --wait"],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt from the keyboard is for this process only
        ) as idle:
            assert idle.stdin is not None
            assert idle.stdout is not None
            try:
                with self._build.step("Wine"):
                    self._await_answer(idle.stdout)
                yield
            finally:
                idle.stdin.close()
                idle.wait()

    def _await_answer(self, output: IO[bytes]) -> None:
        said = b""
        while b"ready" not in said:
            data = b""
            if select.select([output], [], [], START_LIMIT)[0]:
                data = os.read(output.fileno(), 4096)
            if not data:
                raise FailedError(f"Wine does not start: {said!r}")
            said += data

    def path(self, linux: Path) -> str:
        """What a Linux path is called under Wine."""
        return "Z:" + str(linux).replace("/", "\\")

    def linux_path(self, path: str) -> str:
        """What a path under Wine is called on Linux."""
        drive, colon, rest = path.replace("\\", "/").rpartition(":")
        if drive.upper() == "C":
            return f"{self._build.prefix}/drive_c{rest}"
        if colon and drive.upper() != "Z":
            raise ValueError(f"no such drive: {path}")
        return rest
