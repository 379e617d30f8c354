"""Ctrl-C at the console ends a wait with KeyboardInterrupt."""

import os
import subprocess
import sys
from pathlib import Path

import interrupted
import pytest
from missing import carried

from winsockctl import Capture

PROGRAM = Path(__file__).with_name("interrupted.py")


@pytest.mark.parametrize("wait", interrupted.WAITS)
def test_ctrl_c_ends_a_wait(wait: str) -> None:
    if "WINSOCKCTL_HOOK" not in os.environ and "replay" not in wait and "operation" not in wait:
        carried(lambda: Capture("127.0.0.1")).close()
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), wait],
        # A console of its own: the keys would reach everything at ours.
        creationflags=subprocess.CREATE_NO_WINDOW,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * interrupted.PATIENCE,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("KeyboardInterrupt\n", 0)
