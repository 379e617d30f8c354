"""Programs of the Linux that Wine runs on: they read what a Windows program has written.

Wine starts them with ``start /unix``, but tells neither when they end nor how, nor what they say.
"""

import ctypes
import shlex
import subprocess
import tempfile
import time
from pathlib import Path, PureWindowsPath

from missing import WINE

PATIENCE = 60  # seconds


def tool(name: str) -> str | None:
    """The program's path in the file system of Linux."""
    folders = ("/usr/bin", "/usr/sbin", "/bin", "/sbin") if WINE else ()
    return next(
        (f"{folder}/{name}" for folder in folders if Path(f"Z:{folder}/{name}").exists()), None
    )


def path_of(path: str | Path) -> str:
    """What Linux calls a file of Wine's."""
    name = ctypes.WinDLL("kernel32").wine_get_unix_file_name
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.c_wchar_p]
    return name(str(path)).decode()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program as ``subprocess.run`` does; arguments that are Windows paths are translated."""
    with tempfile.TemporaryDirectory() as folder:
        script, status = Path(folder, "script"), Path(folder, "status")
        arguments = [
            path_of(part) if PureWindowsPath(part).drive else part
            for part in (tool(command[0]) or command[0], *command[1:])
        ]
        script.write_bytes(
            f"cd {shlex.quote(path_of(folder))} || exit\n"
            f"LC_ALL=C {shlex.join(arguments)} >output 2>errors </dev/null\n"
            "echo $? >unfinished && mv unfinished status\n".encode()
        )
        subprocess.run(["start", "/unix", "/bin/sh", path_of(script)], check=True, timeout=PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while not status.exists():
            assert time.monotonic() < deadline, f"{command} does not end"
            time.sleep(0.01)
        output, errors = (Path(folder, name).read_text("utf-8") for name in ("output", "errors"))
        return subprocess.CompletedProcess(command, int(status.read_text()), output, errors)
