"""The compiler behind cl.exe and link.exe: gcc or clang on the Linux side, asked over loopback.

setuptools under Wine runs cl.exe and link.exe (compiler_stub.c) with Microsoft's arguments. Only
arguments whose meaning is known are accepted, so that a build cannot quietly lose one.
"""

import re
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")

# Optimisation, run-time library and warnings are ours to choose; manifests and PDBs have no use.
IGNORED_BY_CL = re.compile(
    r"/(nologo|c|O[12]|GL|MD|W[0-4]|WX|wd\d+|EHsc|GS|Gy|FS|Z[7i]|guard:cf|permissive-|utf-8)"
)
IGNORED_BY_LINK = re.compile(
    r"/(nologo|INCREMENTAL:NO|LTCG|DLL|MANIFEST(:.*|UAC:.*)?|IMPLIB:.*|guard:cf|DEBUG(:.*)?"
    r"|OPT:.*|DYNAMICBASE|NXCOMPAT|HIGHENTROPYVA|MACHINE:.*)",
    re.IGNORECASE,
)

Translate = Callable[[str], str]


class UnknownArgumentError(Exception):
    """cl.exe or link.exe was given an argument that has no translation."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler for one kind of Windows, and Python's headers and import library for it."""

    command: Sequence[str]
    link_options: Sequence[str]
    headers: Path
    import_library: Path  # pyconfig.h names it in a #pragma that only Microsoft's compiler reads

    def compile(self, arguments: Sequence[str], path: Translate) -> list[str]:
        """The command that does what ``cl.exe ARGUMENTS`` does."""
        command = [*self.command, *WARNINGS, "-O2", "-c"]
        for argument in arguments:
            option, value = argument[:2], argument[2:]
            if IGNORED_BY_CL.fullmatch(argument):
                continue
            if argument.startswith("/std:"):
                command.append(f"-std={argument[5:]}")
            elif option in ("/D", "-D"):
                # With cl.exe a definition replaces an earlier one; zig has some of its own.
                command += [f"-U{value.partition('=')[0]}", f"-D{value}"]
            elif option in ("/U", "-U"):
                command.append(f"-U{value}")
            elif option in ("/I", "-I"):
                # Windows is indifferent to case, and so are the ways in which setuptools writes it.
                if path(value).lower() == str(self.headers).lower():
                    command += ["-isystem", str(self.headers)]
                else:
                    command += ["-I", path(value)]
            elif argument.startswith("/Tc"):
                command.append(path(argument[3:]))
            elif argument.startswith("/Fo"):
                command += ["-o", path(argument[3:])]
            else:
                raise UnknownArgumentError(argument)
        return command

    def link(self, arguments: Sequence[str], path: Translate) -> list[str]:
        """The command that does what ``link.exe ARGUMENTS`` does."""
        command = [*self.command, *self.link_options, "-shared", "-s"]
        libraries = [str(self.import_library)]
        for argument in arguments:
            option, _, value = argument.partition(":")
            if IGNORED_BY_LINK.fullmatch(argument) or option.upper() == "/EXPORT":
                continue  # PyMODINIT_FUNC exports the function of the name by itself
            if option.upper() == "/OUT":
                command += ["-o", path(value)]
            elif option.upper() == "/LIBPATH":
                command.append(f"-L{path(value)}")
            elif argument.endswith(".obj"):
                command.append(path(argument))
            elif argument.endswith(".lib"):
                libraries.append(f"-l{argument.removesuffix('.lib')}")
            else:
                raise UnknownArgumentError(argument)
        return command + libraries


@contextmanager
def serve(compiler: Compiler, path: Translate, log: IO[str]) -> Iterator[int]:
    """Answer the stubs; gives the port for WINSOCKCTL_COMPILER. ``path`` makes Linux paths."""
    lock = threading.Lock()

    def answer(program: str, folder: str, arguments: Sequence[str]) -> tuple[int, str]:
        translate = compiler.compile if program == "cl.exe" else compiler.link
        try:
            command = translate(arguments, path)
        except UnknownArgumentError as unknown:
            return 2, f"{program}: msvc.py has no translation of {unknown}\n"
        result = subprocess.run(
            command,
            cwd=path(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        with lock:
            print(program, *arguments, "\n  =", *command, file=log, flush=True)
        return int(result.returncode != 0), result.stdout

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            program, folder, *arguments = self.rfile.read().decode().split("\0")[:-1]
            status, output = answer(program.lower(), folder, arguments)
            self.wfile.write(bytes([status]) + output.encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
