"""The kinds of Windows that the extension is built for."""

from dataclasses import dataclass


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
