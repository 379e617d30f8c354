"""The wheel, from the Windows Python's own pip and setuptools; and the hook of the tests."""

import shutil
import subprocess
import zipfile
from collections.abc import Iterable
from pathlib import Path

import msvc
from pe import Image
from steps import HERE, ROOT, Build, FailedError, Stamp, Step, digest
from targets import AMD64, Target
from wine import Wine

PROJECT = ("LICENSE", "README.md", "pyproject.toml", "setup.py", "src")
TOOLS = ("compiler_stub.c", "msvc.py", "wheels.py")

STRICT = ("-std=c11", "-O2", *msvc.WARNINGS)


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
