"""Compiles the programs in C: the generator of the load, and the peers in C."""

import os
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "native"
LIBRARIES = {"generator": [], "pcap_loop": ["-lpcap"], "ring_walk": []}


def build(folder: Path) -> dict[str, Path]:
    """Return where each program is."""
    programs = {}
    for name, libraries in LIBRARIES.items():
        programs[name] = folder / name
        subprocess.run(
            [
                os.environ.get("CC", "cc"),
                *("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra"),
                *("-o", programs[name], SOURCES / f"{name}.c", *libraries),
            ],
            check=True,
        )
    return programs
