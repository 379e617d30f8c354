"""The steps of the rig: their commands, their logs, and what need not be made again."""

import fcntl
import hashlib
import os
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

LOG_TAIL = 40  # lines
STEP_LIMIT = 900.0  # seconds


class FailedError(Exception):
    """What failed, and the exit status for it."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Step:
    """A part of the work whose commands write to one log."""

    def __init__(self, log: Path, *, echo: bool) -> None:
        self.log = log
        self._echo = echo

    def run(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
        limit: float = STEP_LIMIT,
        check: bool = True,
    ) -> int:
        """Run a command and give its exit status, which has to be 0 if ``check``.

        The output always comes through a pipe: Python under Wine fails on regular files as
        standard handles.
        """
        reader, writer = os.pipe()
        with open(reader, "rb", buffering=0) as output, open(self.log, "ab") as log:
            log.write(f"$ {shlex.join(map(str, command))}\n".encode())
            log.flush()
            with open(writer, "wb") as writable:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=writable,
                    stderr=writable,
                )
            try:
                deadline = time.monotonic() + limit
                self._copy(process, output, log, deadline)
                status = process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise FailedError(f"still running after {limit:.0f} s", 124) from None
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if check and status != 0:
            raise FailedError(f"exit status {status}", status if status > 0 else 128 - status)
        return status

    def _copy(
        self, process: "subprocess.Popen[bytes]", output: IO[bytes], log: IO[bytes], deadline: float
    ) -> None:
        while time.monotonic() < deadline:
            if select.select([output], [], [], 0.1)[0]:
                data = output.read(65536)
                if not data:
                    return
                log.write(data)
                log.flush()
                if self._echo:
                    sys.stdout.buffer.write(data)
                    sys.stdout.buffer.flush()
            elif process.poll() is not None:
                return  # A service that Wine started meanwhile may hold the pipe for longer.


@dataclass(frozen=True)
class Stamp:
    """Remembers that something was made, and what from."""

    path: Path
    key: str

    def holds(self) -> bool:
        """Whether it was made from just this; if not, what is there counts no longer."""
        if self.path.exists() and self.path.read_text() == self.key:
            return True
        self.path.unlink(missing_ok=True)
        return False

    def set(self) -> None:
        """It is made now."""
        self.path.write_text(self.key)


class Build:
    """The folder that everything is in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        for name in ("logs", "stamps", "downloads"):
            (self / name).mkdir(parents=True, exist_ok=True)
        (self / ".gitignore").write_text("*\n")  # linters and searches heed it too
        python = self / "venv/bin/python"
        self.pip: tuple[str | Path, ...] = (python, "-m", "pip", "--disable-pip-version-check")
        self.zig: tuple[str | Path, ...] = (
            "env",
            f"ZIG_GLOBAL_CACHE_DIR={self / 'zig'}",
            python,
            "-m",
            "ziglang",
        )
        self.prefix = self / "wine"
        self.hook = self / "hook.dll"

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def python(self, version: str) -> Path:
        """The folder of a Windows Python."""
        return self / f"python-{version}"

    def site_packages(self, version: str) -> Path:
        """Where a Windows Python has its packages."""
        return self.python(version) / "Lib" / "site-packages"

    def stamp(self, name: str, *made_from: object) -> Stamp:
        """Whether ``name`` was made already."""
        return Stamp(self / "stamps" / name, "\n".join(map(str, made_from)))

    @contextmanager
    def step(self, name: str, *, echo: bool = False) -> Iterator[Step]:
        """Print the step's name and seconds; if it fails, also the end of its log."""
        step = Step(self / "logs" / f"{name.replace(' ', '-')}.log", echo=echo)
        step.log.unlink(missing_ok=True)
        print(f"## {name}", end="\n" if echo else " ... ", flush=True)
        start = time.monotonic()
        try:
            yield step
        except FailedError as failure:
            print("\nfailed" if echo else "failed", flush=True)
            if not echo:
                lines = step.log.read_text(errors="replace").splitlines()
                print(*lines[-LOG_TAIL:], sep="\n", flush=True)
            raise FailedError(f"{name}: {failure}; see {step.log}", failure.status) from None
        took = f"{time.monotonic() - start:.1f} s"
        print(f"## {name} ... {took}" if echo else took, flush=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder."""
        with open(self / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for another run in {self.folder}", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def digest(paths: Iterable[Path]) -> str:
    """A digest of the names and contents of files."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path}\0{path.stat().st_size}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()
