#!/usr/bin/env python3
"""Build the Windows extension on Linux and run its tests there.

Genuine Windows CPythons run under Wine. The wheel comes from the unmodified ``pip wheel .`` of the
Windows Python: setuptools calls cl.exe and link.exe, and mingw's gcc answers (msvc.py).

  rig.py setup                 what everything below needs, from nothing (Debian, Ubuntu)
  rig.py wheel                 build the win_amd64 wheel
  rig.py install               ... and install it into the Windows Python
  rig.py hook                  build the import-table hook of tests/windows
  rig.py test [-- PYTEST...]   install, hook, run the tests under Wine; exit status of pytest
  rig.py cross                 compile and link for win32 and win_arm64, which cannot run here
  rig.py all                   all of it, with every version of Python

Each command first does what it needs and what is not done yet.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from provision import (
    PYTHONS,
    install_packages,
    install_requirements,
    make_environment,
    unpack_python,
)
from steps import ROOT, Build, FailedError
from targets import AMD64, CROSS, Target
from wheels import build_wheel, install_wheel, make_hook
from wine import ADAPTER, Wine, enter_network

COMMANDS = ("setup", "wheel", "install", "hook", "test", "cross", "all")

TEST_LIMIT = 180.0
SUITE_LIMIT = 1800.0


class Report:
    """What came of each part; one that fails does not keep the others from their turn."""

    def __init__(self) -> None:
        self.status = 0
        self._ran = 0
        self._rows: list[str] = []

    @contextmanager
    def part(self, version: str, target: Target) -> Iterator[None]:
        """What is done for one version of Python and one kind of Windows, ends with a result."""
        self._rows.append(f"cp{version.replace('.', '')}-{target.tag:<12}")
        try:
            yield
        except FailedError as failure:
            self.result(f"FAILED: {failure}", failure.status)

    def result(self, text: str, status: int = 0) -> None:
        """Tell what came of the part, and the exit status for it."""
        self._rows[-1] += text
        self.status = self.status or status

    def tests(self, suite: ElementTree.Element, status: int) -> None:
        """Tell what came of the tests, of which pytest gives the totals and an exit status."""
        total, failures, errors, skipped = (
            int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")
        )
        failed = failures + errors
        self._ran += total - skipped
        text = f"{total - skipped - failed} passed, {failed} failed, {skipped} skipped"
        self.result(text if status == 0 else f"{text}: exit status {status} of pytest", status)

    def print(self) -> None:
        """Print a row for each part."""
        print("", *self._rows, f"{self._ran} tests ran under Wine", sep="\n", flush=True)


def run_tests(
    build: Build,
    wine: Wine,
    version: str,
    arguments: Sequence[str],
    report: Report,
    *,
    own_network: bool,
) -> None:
    """Run pytest on what is installed.

    The tests get WINSOCKCTL_HOOK, the path of the hook, and WINSOCKCTL_OWN_NETWORK, the name of the
    adapter that they may change (``start /wait /unix /usr/sbin/ip ...``).
    """
    junit = build / f"junit-{version}.xml"
    junit.unlink(missing_ok=True)
    options = [
        "--capture=sys",  # the default reads standard output back from a file, slowly under Wine
        "-p",
        "no:cacheprovider",
        f"--junitxml={wine.path(junit)}",
        # pytest-timeout cannot end a test that waits with the GIL held.
        f"--override-ini=faulthandler_timeout={TEST_LIMIT}",
        "--override-ini=faulthandler_exit_on_timeout=true",
    ]
    environment = {"WINSOCKCTL_HOOK": wine.path(build.hook)}
    if own_network:
        environment["WINSOCKCTL_OWN_NETWORK"] = ADAPTER
    with build.step(f"pytest {version}", echo=True) as step:
        status = wine.python(
            step,
            version,
            "pytest",
            *options,
            *arguments,
            environment=environment,
            limit=SUITE_LIMIT,
            check=False,
        )
        if not junit.exists():
            raise FailedError("pytest left no report", status or 1)
    report.tests(next(ElementTree.parse(junit).iter("testsuite")), status)


def execute(
    command: str, versions: Sequence[str], build: Build, pytest_arguments: Sequence[str]
) -> int:
    """Run a command with all that it needs; gives the exit status."""
    cross = command in ("setup", "cross", "all")
    install_packages(build, cross=cross)
    if command in ("hook", "test", "all"):
        make_hook(build)
    if command == "hook":
        return 0
    make_environment(build, cross=cross)
    for version in versions:
        unpack_python(build, version)
        install_requirements(build, version)
    own_network = enter_network(build)
    wine = Wine(build)
    wine.make_prefix()
    report = Report()
    with wine.kept_up():
        for version in versions if command in ("wheel", "install", "test", "all") else ():
            with report.part(version, AMD64):
                wheel = build_wheel(build, wine, version, AMD64)
                if command == "wheel":
                    report.result(wheel.name)
                    continue
                install_wheel(build, wine, version, wheel)
                if command == "install":
                    report.result("installed")
                    continue
                run_tests(build, wine, version, pytest_arguments, report, own_network=own_network)
        for target in CROSS if command in ("cross", "all") else ():
            with report.part(versions[0], target):
                build_wheel(build, wine, versions[0], target)
                report.result("compiled and linked")
    report.print()
    return report.status


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [-h] [--python VERSION] [--build FOLDER] COMMAND [-- PYTEST...]",
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument(
        "--python",
        action="append",
        choices=PYTHONS,
        help="version of Python, may be repeated (default: 3.11, with all: each)",
    )
    parser.add_argument(
        "--build", type=Path, default=ROOT / ".windows", help="folder (default: .windows)"
    )
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, pytest_arguments = parser.parse_args(arguments[:end]), arguments[end + 1 :]
    if pytest_arguments and options.command not in ("test", "all"):
        parser.error("only test and all take arguments of pytest")
    versions = options.python or (list(PYTHONS) if options.command == "all" else ["3.11"])
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    build = Build(options.build)
    try:
        with build.locked():
            return execute(options.command, versions, build, pytest_arguments)
    except FailedError as failure:
        print(f"rig.py: {failure}", file=sys.stderr)
        return failure.status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
