"""The command ``winsockctl``, run as users run it: in a process of its own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

COMMAND = (sys.executable, "-m", "winsockctl")


def run(
    *arguments: str | Path, prefix: Sequence[str] = (), **options: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, *COMMAND, *arguments],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
        timeout=60,
        check=False,
    )


def only_error(stderr: str) -> str:
    """Return the text of the one line that every failure has to be."""
    assert stderr.startswith("winsockctl: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1
    return stderr.removeprefix("winsockctl: ").rstrip()
