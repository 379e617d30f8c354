"""Which wheels a release has."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
INTERPRETERS = ("cp311", "cp312", "cp313", "cp314", "cp314t", "cp315")
PLATFORMS = {
    ("linux", "x86_64"): ("manylinux_x86_64", "musllinux_x86_64"),
    ("linux", "aarch64"): ("manylinux_aarch64", "musllinux_aarch64"),
    ("windows", "AMD64"): ("win_amd64",),
    ("windows", "x86"): ("win32",),
    ("windows", "ARM64"): ("win_arm64",),
}


@pytest.mark.parametrize(("system", "architecture"), PLATFORMS)
def test_every_interpreter_has_a_wheel(system: str, architecture: str) -> None:
    if sys.platform != "linux":
        pytest.skip("no cibuildwheel: the group test has it on Linux only")
    cibuildwheel = shutil.which("cibuildwheel", path=Path(sys.executable).parent)
    assert cibuildwheel is not None, "pip install --group test"
    done = subprocess.run(
        [
            *(cibuildwheel, "--print-build-identifiers"),
            *("--platform", system, "--archs", architecture),
            PROJECT,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(
        f"{interpreter}-{platform}"
        for interpreter in INTERPRETERS
        for platform in PLATFORMS[system, architecture]
    )
