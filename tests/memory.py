"""What this process holds of the system, for tests that look for leaks."""

import ctypes
import gc
import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import process_heap

_LIBC = ctypes.CDLL(None if sys.platform == "linux" else "ucrtbase")


class _MallocInfo(ctypes.Structure):
    """struct mallinfo2, mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def descriptors() -> int:
    """Return how many file descriptors are open; 0 where the system does not list them."""
    if sys.platform != "linux":
        return 0
    return len(os.listdir("/proc/self/fd"))


def mappings() -> int:
    """Return how many memory mappings there are."""
    return Path("/proc/self/maps").read_bytes().count(b"\n")


def address_space() -> int:
    """Return the bytes of address space that is mapped."""
    return _pages(0)


def resident() -> int:
    """Return the bytes in memory, after unused heap was given back."""
    gc.collect()
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
    return _pages(1)


def heap() -> int:
    """Return the bytes that malloc has handed out and not got back."""
    if sys.platform == "win32":
        return process_heap.size()
    if has_address_sanitizer():
        current = _LIBC.__sanitizer_get_current_allocated_bytes
        current.restype = ctypes.c_size_t
        return current()
    if hasattr(_LIBC, "mallinfo2"):
        _LIBC.mallinfo2.restype = _MallocInfo
        info = _LIBC.mallinfo2()
        return info.uordblks + info.hblkhd
    return resident()


def has_address_sanitizer() -> bool:
    """Whether freed memory goes to AddressSanitizer's quarantine instead of back to the system."""
    return hasattr(_LIBC, "__sanitizer_get_current_allocated_bytes")


def _pages(field: int) -> int:
    return int(Path("/proc/self/statm").read_text().split()[field]) * os.sysconf("SC_PAGESIZE")
