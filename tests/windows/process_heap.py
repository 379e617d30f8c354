"""The heap that a Windows extension module allocates from, for tests that look for leaks."""

import ctypes
import os
from ctypes import wintypes

import hook

BUSY = 0x0004  # PROCESS_HEAP_ENTRY_BUSY


class _Entry(ctypes.Structure):
    """https://learn.microsoft.com/windows/win32/api/minwinbase/ns-minwinbase-process_heap_entry"""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", wintypes.DWORD),
        ("overhead", wintypes.BYTE),
        ("region", wintypes.BYTE),
        ("flags", wintypes.WORD),
        ("more", ctypes.c_void_p * 4),
    )


_kernel = ctypes.WinDLL("kernel32")
_runtime = ctypes.CDLL("ucrtbase")
_runtime._get_heap_handle.restype = ctypes.c_void_p
_kernel.HeapWalk.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Entry)]


def size() -> int:
    """Return the bytes that are handed out and not given back."""
    heap = _runtime._get_heap_handle()  # malloc takes from it
    if "WINSOCKCTL_HOOK" in os.environ:
        return hook.heap_size(heap)
    # Not locked: another thread would wait for the heap, and this one for the GIL that it has.
    entry = _Entry()
    total = 0
    while _kernel.HeapWalk(heap, ctypes.byref(entry)):
        if entry.flags & BUSY:
            total += entry.size
    return total
