"""What an editor and a type checker see: py.typed, stubs that fit the module, docstrings."""

import importlib
import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from missing import missing

import winsockctl
from winsockctl import _winsockctl

PACKAGE = Path(winsockctl.__file__).parent


def need_mypy() -> None:
    pytest.importorskip(
        "mypy", reason="mypy is not installed: it is in the dependency group 'lint'"
    )
    try:
        importlib.import_module("mypy.nativeparse")
    except ImportError as error:  # a part of Windows that its parser needs
        missing(f"what mypy needs ({error})")


def run(*command: str, cwd: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def settings(tmp_path) -> Path:
    """The mypy settings of pyproject.toml, away from the sources: the installed package counts."""
    path = tmp_path / "mypy.ini"
    path.write_text(
        f"[mypy]\nstrict = true\ncache_dir = {tmp_path}\n"
        "[mypy-dpkt.*,psutil]\nignore_missing_imports = true\n"
    )
    return path


@pytest.mark.timeout(600)
def test_the_stub_fits_the_built_module(tmp_path, settings):
    need_mypy()
    run(
        "mypy.stubtest",
        "winsockctl._winsockctl",
        "--mypy-config-file",
        str(settings),
        cwd=tmp_path,
    )


@pytest.mark.timeout(600)
def test_the_package_is_strictly_typed(tmp_path, settings):
    need_mypy()
    run("mypy", "--config-file", str(settings), "-p", "winsockctl", cwd=tmp_path)


@pytest.mark.timeout(600)
def test_a_program_that_uses_it_is_checked(tmp_path, settings):
    need_mypy()
    program = tmp_path / "program.py"
    program.write_text(
        "from winsockctl import Capture, Replay\n"
        "from typing import assert_type\n"
        "with Capture('lo') as capture:\n"
        "    for view in capture:\n"
        "        assert_type(view, memoryview[int])\n"
        "    assert_type(capture.statistics.dropped, int | None)\n"
        "with Replay([b'', (b'', 1), (b'', 1, 2, 3)]) as replay:\n"
        "    for datagram in replay.datagrams():\n"
        "        assert_type(datagram.timestamp_ns, int)\n"
    )
    run("mypy", "--config-file", str(settings), str(program), cwd=tmp_path)
    program.write_text(program.read_text() + "Capture(latency='soon')\n")
    with pytest.raises(AssertionError, match="latency"):
        run("mypy", "--config-file", str(settings), str(program), cwd=tmp_path)


def test_py_typed_and_the_stub_ship():
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / "_winsockctl.pyi").is_file()


def test_the_version_is_that_of_the_distribution():
    assert winsockctl.__version__ == importlib.metadata.version("winsockctl")


def test_all_is_sorted_and_complete():
    assert winsockctl.__all__ == sorted(winsockctl.__all__)
    public = {
        name
        for name, value in vars(winsockctl).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(winsockctl.__all__)


def public_objects():
    for name in winsockctl.__all__:
        value = getattr(winsockctl, name)
        yield name, value
        if inspect.isclass(value):
            for attribute, member in vars(value).items():
                # A field of a dataclass has no text but that in its source.
                if not attribute.startswith("_") and (
                    inspect.isroutine(member)
                    or inspect.isgetsetdescriptor(member)
                    or isinstance(member, property)
                ):
                    yield f"{name}.{attribute}", member


@pytest.mark.parametrize(
    "value", [pytest.param(value, id=name) for name, value in public_objects()]
)
def test_every_public_name_has_a_docstring_of_its_own(value):
    doc = value.__doc__
    assert doc
    assert doc.strip()
    if inspect.isclass(value):
        inherited = {base.__doc__ for base in value.__mro__[1:]}
        assert doc not in inherited


def test_names_of_the_extension_are_those_of_the_package():
    for name in winsockctl.__all__:
        value = getattr(winsockctl, name)
        if getattr(_winsockctl, name, None) is value and inspect.isclass(value):
            assert value.__module__ == "winsockctl", "where a program imports it from"


def test_help_shows_the_signature_of_every_call():
    for name, value in public_objects():
        if inspect.isclass(value) or not callable(value):
            continue
        assert inspect.signature(value).parameters is not None, name
