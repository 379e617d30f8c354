"""Where Wireshark looks for programs to capture with, and our program in there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from winsockctl.cli.errors import CommandError
from winsockctl.cli.output import say

_PROGRAM = "winsockctl-extcap.exe" if sys.platform == "win32" else "winsockctl-extcap"


def install(folder: str | None, *, for_all: bool) -> None:
    """Copy our program into the folder.

    Args:
        folder: ``None`` for the one where Wireshark looks.
        for_all: whether to take the folder for all users, if Wireshark has one for each as well.
    """
    program = Path(sysconfig.get_path("scripts"), _PROGRAM)
    if not program.is_file():
        raise CommandError(f"{program} is missing: install winsockctl with pip, which makes it")
    target = _folder(folder, for_all=for_all)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, target / _PROGRAM)
    say(f"installed {target / _PROGRAM}")
    say("Wireshark lists the interfaces at its next start, 'tshark -D' at once.")


def uninstall(folder: str | None, *, for_all: bool) -> None:
    """Remove what ``install`` with the same arguments has put there."""
    path = _folder(folder, for_all=for_all) / _PROGRAM
    if not path.exists():
        raise CommandError(f"{path} is not there: nothing to remove")
    path.unlink()
    say(f"removed {path}")


def _folder(given: str | None, *, for_all: bool) -> Path:
    if given is not None:
        return Path(given)
    folders = _folders_of_tshark()
    wanted = "Global" if for_all else "Personal"
    # Wireshark before 4.2 has one folder only, for all users.
    for kind in (wanted, ""):
        if kind in folders:
            return Path(folders[kind])
    if for_all:
        raise CommandError(
            "tshark is not found, so the folder for all users is unknown: Wireshark tells it "
            "under Help, About, Folders; give it with --folder"
        )
    if sys.platform == "win32":
        return Path(os.environ["APPDATA"], "Wireshark", "extcap")
    return Path.home() / ".local" / "lib" / "wireshark" / "extcap"


def _folders_of_tshark() -> dict[str, str]:
    """The folders by kind, ``'Personal'``, ``'Global'`` or ``''``; empty without tshark."""
    places = os.environ.get("PATH", os.defpath)
    if sys.platform == "win32":
        places += os.pathsep + str(Path(os.environ.get("PROGRAMFILES", ""), "Wireshark"))
    tshark = shutil.which("tshark", path=places)
    if tshark is None:
        return {}
    done = subprocess.run(
        [tshark, "-G", "folders"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    found = re.findall(r"^(?:(Personal|Global) )?Extcap path:\s*(\S.*?)\s*$", done.stdout, re.M)
    return dict(found)
