"""The extension: which C files this platform takes, and the switches of a checked build.

WINSOCKCTL_STRICT=1     warnings are errors (CI, with gcc and with clang)
WINSOCKCTL_SANITIZE=1   AddressSanitizer and UndefinedBehaviorSanitizer
"""

import os
import sys

from setuptools import Extension, setup

BACKENDS = {
    "linux": [
        "linux.c",
        "linux_control.c",
        "linux_file.c",
        "linux_operation.c",
        "packet.c",
        "packet_filter.c",
        "packet_message.c",
        "packet_ring.c",
        "replay.c",
    ],
    "win32": [
        "windows.c",
        "windows_file.c",
        "windows_operation.c",
        "winsock.c",
        "replay.c",
    ],
}
MACROS = {
    "linux": [("_GNU_SOURCE", "1")],
    "win32": [("_WIN32_WINNT", "0x0A00"), ("WIN32_LEAN_AND_MEAN", "1")],
}
LIBRARIES = {
    "win32": ["ws2_32", "iphlpapi"],
}

if sys.platform not in BACKENDS:
    sys.exit(f"winsockctl has no capture backend for {sys.platform}: it runs on Linux and Windows")

sources = [
    "src/_winsockctl.c",
    *(
        f"src/binding/{name}.c"
        for name in (
            "batch",
            "batch_iterator",
            "column",
            "control",
            "datagram",
            "enumerations",
            "errors",
            "interfaces",
            "operation",
            "options",
            "raw_socket",
            "raw_socket_options",
            "raw_socket_receive",
            "recycled_view",
            "replay_source",
            "recording",
            "savefile_reader",
            "savefile_reader_facts",
        )
    ),
    *(
        f"src/core/{name}.c"
        for name in (
            "block",
            "control_code",
            "filter",
            "interface",
            "ip",
            "ipv6_header",
            "link",
            "pcap_read",
            "pcapng_read",
            "pcapng_write",
            "rcvall",
            "savefile",
            "savefile_fill",
            "savefile_reader",
            "winsock_errors",
        )
    ),
    "src/backend/channel.c",
    "src/backend/recording.c",
    *(f"src/backend/{name}" for name in BACKENDS[sys.platform]),
]

compile_args = ["/std:c11"] if sys.platform == "win32" else ["-std=c11", "-fvisibility=hidden"]
link_args = []
if os.environ.get("WINSOCKCTL_STRICT"):
    compile_args += ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
if os.environ.get("WINSOCKCTL_SANITIZE"):
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    compile_args += [*sanitize, "-O1", "-g", "-fno-omit-frame-pointer"]
    link_args += sanitize

setup(
    ext_modules=[
        Extension(
            "winsockctl._winsockctl",
            sources,
            include_dirs=["src"],
            define_macros=MACROS[sys.platform],
            libraries=LIBRARIES.get(sys.platform, []),
            depends=[
                os.path.join(folder, name)
                for folder, _, names in os.walk("src")
                for name in names
                if name.endswith(".h")
            ],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    ]
)
