"""The heap that a Windows extension module allocates from, for tests that look for leaks."""

import ctypes
from ctypes import wintypes

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
_kernel.HeapLock.argtypes = [ctypes.c_void_p]
_kernel.HeapUnlock.argtypes = [ctypes.c_void_p]
_kernel.HeapWalk.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Entry)]


def size() -> int:
    """Return the bytes that are handed out and not given back."""
    heap = _runtime._get_heap_handle()  # malloc takes from it
    entry = _Entry()
    total = 0
    _kernel.HeapLock(heap)
    try:
        while _kernel.HeapWalk(heap, ctypes.byref(entry)):
            if entry.flags & BUSY:
                total += entry.size
    finally:
        _kernel.HeapUnlock(heap)
    return total
