"""Nothing leaks: every public name is used again and again, on good paths and on bad ones."""

import asyncio
import atexit
import contextlib
import functools
import gc
import gzip
import io
import os
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from pathlib import Path

import memory
import network
import numpy
import pytest
import savefiles
from datagrams import mixed
from missing import WINE
from traffic import MIB, Loopback

import winsockctl
from winsockctl import (
    Batch,
    Capture,
    ControlCode,
    Datagram,
    Direction,
    Filter,
    FilterSyntaxError,
    Interface,
    InterfaceInfo,
    Operation,
    RawSocket,
    RcvAll,
    Reader,
    Recorder,
    RecordFlag,
    Replay,
    Savefile,
    SavefileError,
    SavefileInterface,
    Statistics,
    TcpInfo,
    TcpState,
    WinsockError,
    WinsockInterruptedError,
    WinsockPermissionError,
    address_list,
    backends,
    base_handle,
    interface_list,
    interfaces,
    ioctl,
    open_savefile,
    routing_interface,
    set_keepalive,
    set_loopback_fast_path,
    set_rcvall,
    set_rcvall_igmpmcast,
    set_rcvall_mcast,
    set_udp_connreset,
    start_ioctl,
    tcp_info,
    wait_address_list_change,
)

WINDOWS = 10  # a leak shows in each of them; what warms up or is only noise does not
DATAGRAMS = mixed(40)
BATCH: Batch = Replay(DATAGRAMS).read(0)

Action = Callable[[], object]
CASES: dict[str, tuple[Action, int]] = {}


def case(action: Action, *, rounds: int = 2000, name: str = "") -> Action:
    """Register what may not leak; ``rounds`` calls make one window."""
    CASES[name or action.__name__] = (action, rounds)
    return action


def opened(datagrams=(), mode=RcvAll.ON, **options) -> RawSocket:
    raw = RawSocket.replay(datagrams, **options)
    raw.bind("replay")
    set_rcvall(raw, mode)
    return raw


@case
def filter_change():
    with Replay(DATAGRAMS, filter="udp") as replay:
        replay.filter = "tcp"
        replay.read(0)
        replay.filter = None
    with contextlib.suppress(WinsockError):
        replay.filter = "udp"


# Objects that each call takes a reference to; one that is not given back shows in their counts.
WATCHED = [
    Batch,
    Datagram,
    RawSocket,
    SavefileError,
    Recorder,
    Direction,
    *Direction,
    RecordFlag,
    *RecordFlag,
    WinsockError,
    WinsockPermissionError,
    WinsockInterruptedError,
    type(iter(BATCH)),
    type(BATCH.datagrams()),
    BATCH,
    DATAGRAMS,
    DATAGRAMS[0],
    socket.AF_INET,
    socket.AF_INET6,
    socket.AF_UNSPEC,
    None,
    True,
    False,
    b"",
    "",
    (),
]


def snapshot() -> dict[str, int]:
    gc.collect()
    found = {
        "descriptors": memory.descriptors(),
        "heap bytes": memory.heap(),
        "objects": sys.getallocatedblocks(),
        "references": sum(map(sys.getrefcount, WATCHED)),
    }
    if sys.platform == "linux" and not memory.has_address_sanitizer():
        found["mappings"] = memory.mappings()
        found["address space"] = memory.address_space()
    if hasattr(sys, "gettotalrefcount"):
        found["all references"] = sys.gettotalrefcount()
    return found


def check(action: Action, rounds: int) -> None:
    if sys.platform == "win32":
        rounds = max(rounds // 4, 20)  # of the same bound each: calls of the system cost more there
    # Less than one leaked thing a round; its bytes are at least those of a page or a small malloc.
    few = rounds // 2
    allowed = {
        "descriptors": 0,
        "mappings": 2,
        "address space": few * 4096,
        "heap bytes": few * 16,
        "objects": few,
        "references": few,
        "all references": few,
    }
    for _ in range(rounds // 4 + 2):
        action()
    leaking = set(allowed)
    after = snapshot()
    for _ in range(WINDOWS):
        before = after
        for _ in range(rounds):
            action()
        after = snapshot()
        growth = {name: after[name] - before[name] for name in after}
        leaking &= {name for name in growth if growth[name] > allowed[name]}
        if not leaking:
            return
    raise AssertionError(f"{growth} in {rounds} rounds")


# Batch and Datagram


@case
def views():
    for view in BATCH:
        view[4:8]
    BATCH[0].release()
    [bytes(view) for view in reversed(BATCH)]
    (bytes(BATCH[-1]), len(BATCH), repr(BATCH), b"" in BATCH)
    next(iter(BATCH))


@case
def tables():
    for table in (
        BATCH.buffer,
        BATCH.records,
        BATCH.timestamps_ns,
        BATCH.offsets,
        BATCH.lengths,
    ):
        table.tobytes()
    BATCH.lengths.tolist()
    numpy.asarray(BATCH.records)["length"].sum()
    numpy.asarray(BATCH.timestamps_ns)
    numpy.frombuffer(BATCH[3], numpy.uint8)


@case
def wrong_indexes():
    for index, error in (
        (40, IndexError),
        (-41, IndexError),
        ("0", TypeError),
        (2**70, IndexError),
    ):
        with contextlib.suppress(error):
            BATCH[index]
        with contextlib.suppress(error):
            BATCH.datagram(index)
    Batch()
    with contextlib.suppress(TypeError):
        Batch(1)
    with contextlib.suppress(TypeError):
        Datagram()


@case
def datagrams():
    for datagram in BATCH.datagrams():
        datagram.direction  # noqa: B018
    datagram = BATCH.datagram(-1)
    for name in dir(Datagram):
        if not name.startswith("_"):
            getattr(datagram, name)
    (len(datagram), repr(datagram), bytes(datagram.data), Direction(3), Direction["OTHER"])
    with contextlib.suppress(AttributeError):
        datagram.length = 1
    next(BATCH.datagrams())


@case
def enumerations():
    for kind in (Direction, RcvAll, ControlCode, RecordFlag):
        [kind(int(member)) for member in kind]
        with contextlib.suppress(ValueError):
            kind(77)
        pickle.loads(pickle.dumps(next(iter(kind))))


# Replay, Reader, RawSocket


@case
def replay():
    with Replay(DATAGRAMS, batch_size=9) as reader:
        reader.read(0)
        next(reader.batches())
        next(reader.datagrams())
        for view in reader:
            bytes(view)
        (reader.statistics, reader.backend, reader.buffer_size, reader.ended, repr(reader))
        reader.read(0)
    (reader.closed, reader.statistics, list(reader))
    Statistics(1, None, 2, 3, 4)


@case
def reader_of_a_raw_socket():
    reader = Reader(opened(DATAGRAMS, batch_size=9))
    next(reader.batches())
    for datagram in reader.datagrams():
        datagram.data.release()
    reader.fileno()
    reader.close()
    with contextlib.suppress(WinsockError):
        reader.read()


@case
def replay_of_every_kind_of_item():
    items = [
        b"",
        DATAGRAMS[0],
        bytearray(DATAGRAMS[0]),
        memoryview(DATAGRAMS[0]),
        (DATAGRAMS[0], 1),
        (DATAGRAMS[0], 2, Direction.OTHER),
        (DATAGRAMS[0], 3, 1, 9000),
        (DATAGRAMS[0], 3, 1, 9000, RecordFlag.REBUILT | 0x7C),
        BATCH.datagram(0),
    ]
    with Replay(iter(items), snaplen=24, batch_size=3) as reader:
        len(list(reader.datagrams()))


@case
def replay_that_is_only_dropped():
    Replay(DATAGRAMS)
    Replay(DATAGRAMS, wait=True).read(0)
    RawSocket.replay(DATAGRAMS)
    RawSocket.replay(DATAGRAMS, batch_size=7).bind("replay")
    view = Replay(DATAGRAMS).read(0)[3]
    del view


@case
def replay_in_a_cycle():
    reader = Replay(DATAGRAMS)
    reader.myself = [reader, reader.batches()]
    next(reader.myself[1])


@case
def unacceptable_items():
    def failing():
        yield DATAGRAMS[0]
        yield DATAGRAMS[1]
        raise LookupError

    for items in (
        7,
        ["text"],
        [DATAGRAMS[0], None],
        [DATAGRAMS[0], ()],
        [(DATAGRAMS[0], "now")],
        [(DATAGRAMS[0], 1, 9)],
        [(DATAGRAMS[0], 1, 1, 1)],
        [(DATAGRAMS[0], 1, 1, "1")],
        [(DATAGRAMS[0], 1, 1, 9000, 128)],
        [(DATAGRAMS[0], 1, 1, 2**70)],
        [(DATAGRAMS[0], 2**70)],
        [memoryview(DATAGRAMS[0])[::2]],
        failing(),
    ):
        with contextlib.suppress(TypeError, ValueError, OverflowError, LookupError, BufferError):
            RawSocket.replay(items, batch_size=1)


@case
def unacceptable_options():
    for name, value in (
        ("snaplen", 0),
        ("snaplen", "1"),
        ("snaplen", 2**70),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("batch_size", 2**70),
        ("family", 1),
        ("family", "AF_INET"),
        ("buffer_size", 1),
        ("buffer_size", 2**70),
        ("latency", 0),
        ("latency", "1"),
        ("backend", "none"),
        ("backend", 1),
        ("protocol", -1),
        ("mode", 4),
        ("colour", "red"),
    ):
        for make in (
            lambda **options: RawSocket.replay(DATAGRAMS, **options),
            lambda **options: RawSocket(socket.AF_INET, **options),
            lambda **options: Replay(DATAGRAMS, **options),
            lambda **options: Capture("no-such-interface", **options),
            lambda **options: Recorder(-1, **options),
        ):
            with contextlib.suppress(TypeError, ValueError, OSError, OverflowError):
                make(**{name: value}).close()


def raw_socket(mode):
    with opened(DATAGRAMS, mode, family=socket.AF_INET) as raw:
        raw.receive(0)
        set_rcvall(raw, RcvAll.OFF)
        raw.receive(0)
        (raw.backend, raw.buffer_size, raw.ended, raw.family, raw.mode, repr(raw))
        raw.statistics()


for _mode in RcvAll:
    case(functools.partial(raw_socket, _mode), name=f"raw_socket_{_mode.name}")


def fault(step):
    for code in (10050, 10013, 10004, 997, 12345):
        with contextlib.suppress(WinsockError):
            raw = opened(DATAGRAMS, faults={step: code})
            for _ in range(3):
                raw.receive(0)
        with contextlib.suppress(WinsockError), opened(faults={step: code}) as raw:
            raw.receive(0)


for _step in ("socket", "bind", "WSAIoctl", "receive"):
    case(functools.partial(fault, _step), name=f"fault_of_{_step}")


@case
def unacceptable_calls():
    raw = RawSocket.replay(DATAGRAMS)
    for call in (
        lambda: set_rcvall(raw, RcvAll.ON),
        lambda: raw.bind("0.0.0.0"),
        lambda: raw.bind(None),
        lambda: raw.bind(-1),
        lambda: raw.bind("a\0b"),
        lambda: raw.ioctl(ControlCode.SIO_RCVALL, b"\1"),
        lambda: raw.ioctl(ControlCode.SIO_RCVALL, struct.pack("=I", 9)),
        lambda: raw.ioctl(ControlCode.FIONREAD, b"", 4),
        lambda: raw.ioctl("code"),
        lambda: raw.ioctl(1, "text"),
        lambda: raw.ioctl(1, b"", -1),
        lambda: raw.receive(-1),
        lambda: raw.receive("1"),
        lambda: raw.fileno(),
        lambda: RawSocket.replay([], faults={"listen": 1}),
        lambda: RawSocket.replay([], faults={"bind": "1"}),
        lambda: RawSocket.replay([], faults=7),
        raw.close,
        raw.close,
        lambda: raw.receive(0),
        lambda: raw.bind("replay"),
    ):
        with contextlib.suppress(WinsockError, TypeError, ValueError, OverflowError):
            call()


@functools.partial(case, rounds=100)
def close_while_two_threads_wait():
    raw = opened(wait=True)

    def wait():
        with contextlib.suppress(WinsockError):
            raw.receive(10)

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    raw.close()
    for thread in threads:
        thread.join()


@case
def errors():
    for code in (10022, 10013, 10004):
        try:
            RawSocket.replay([], faults={"socket": code})
        except WinsockError as error:
            (str(error), repr(error), error.code, error.symbol, error.call, error.hint)
            pickle.loads(pickle.dumps(error))
    for kind in (WinsockError, WinsockPermissionError, WinsockInterruptedError):
        kind(1, "made by hand")


@functools.partial(case, rounds=200)
def filters():
    wanted = Filter("udp and (dst port 53 or ip6)")
    same = Filter.from_instructions(wanted.instructions)
    (wanted == same, hash(wanted), repr(same), str(same), wanted.expression)
    for filter_ in (wanted, "len > 60", None):
        with Replay(DATAGRAMS, filter=filter_) as reader:
            list(reader)
    for expression in ("udp and", "port 65536", "ether host 1", 7):
        with contextlib.suppress(FilterSyntaxError, TypeError):
            Filter(expression)
    for program in ([], [(1,)], [(6, 0, 0, 2**40)], [(255, 0, 0, 0)], 7, "1\n6 0 0"):
        with contextlib.suppress(TypeError, ValueError):
            Filter.from_instructions(program)
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            RawSocket.replay(DATAGRAMS, filter=program)


@case
def waits():
    with opened(DATAGRAMS, batch_size=9) as raw:
        raw.wait(0)
        raw.receive()
        raw.wait()
    with contextlib.suppress(WinsockError):
        raw.wait()
    opened(DATAGRAMS).wait()
    opened(wait=True).wait(0)
    with contextlib.suppress(ValueError):
        raw.wait(-1)


@case
def loops_that_are_left():
    with Replay(DATAGRAMS, batch_size=9) as reader:
        for _ in range(3):
            next(iter(reader))
            next(reader.datagrams())
        reader.read()
        next(reader.datagrams())
        next(iter(reader))


# Functions


@case
def backend_names():
    backends()


@functools.partial(case, rounds=200)
def interfaces_of_the_machine():
    interfaces()
    Interface("lo", 1, "", ("127.0.0.1",), True, True)


@case
def control_of_any_socket():
    left, right = socket.socketpair()
    with left, right:
        ioctl(left, ControlCode.FIONREAD, b"", 4)
        ioctl(left.fileno(), ControlCode.FIONREAD, bytearray(), 64)
        for arguments in (
            (left, ControlCode.FIONREAD),
            (left, ControlCode.SIO_RCVALL, bytes(4)),
            (left, ControlCode.SIO_LOOPBACK_FAST_PATH, bytes(4)),
            (left, 0x98007777),
            (-1, ControlCode.FIONREAD, b"", 4),
            (2**70, ControlCode.FIONREAD, b"", 4),
            (left, 2**70),
            (left, "code"),
            (left, 1, "text"),
            (left, 1, b"", -1),
            (left, 1, b"", 2**62),
            ("socket", 1),
            (None, 1),
            (),
        ):
            with contextlib.suppress(
                WinsockError, TypeError, ValueError, OverflowError, MemoryError
            ):
                ioctl(*arguments)


@functools.partial(case, rounds=200)
def control_codes_as_functions():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        for call in (
            lambda: set_keepalive(tcp, True, 60, 10),
            lambda: set_keepalive(udp, True),
            lambda: set_keepalive(tcp, True, idle=0),
            lambda: set_loopback_fast_path(tcp, required=False),
            lambda: set_loopback_fast_path(tcp),
            lambda: set_rcvall_mcast(udp, RcvAll.ON),
            lambda: set_rcvall_igmpmcast(udp, RcvAll.ON),
            lambda: set_udp_connreset(udp, False),
            lambda: TcpState(tcp_info(tcp).state),
            lambda: tcp_info(udp),
            lambda: interface_list(udp),
            lambda: interface_list(-1),
            lambda: address_list(udp),
            lambda: address_list(-1),
            lambda: routing_interface(udp, "127.0.0.1"),
            lambda: routing_interface(udp, "localhost"),
            lambda: base_handle(udp),
            lambda: base_handle(-1),
            lambda: wait_address_list_change(udp, 0),
            lambda: wait_address_list_change(-1, 0),
        ):
            with contextlib.suppress(WinsockError, ValueError):
                call()
        TcpInfo(TcpState.LISTEN, 1, False, 1, None, 1, 1, 1, 1, 1)
        InterfaceInfo("127.0.0.1", "255.0.0.0", "0.0.0.0", True, False, True, False, True)


def not_carried(sock):
    # Of an operation with such a code Wine never says that it is over.
    return (
        (sock, ControlCode.SIO_LOOPBACK_FAST_PATH, bytes(4)),
        (sock, 0x98007777),
    )


@case
def operations():
    left, right = socket.socketpair()
    with left, right:
        operation = start_ioctl(left, ControlCode.FIONREAD, b"", 4)
        operation.wait(1)
        (operation.done(), operation.result(), repr(operation))
        operation.cancel()
        start_ioctl(left, ControlCode.FIONREAD, bytearray(), 64)
        for arguments in (
            (left, ControlCode.FIONREAD),
            *(() if WINE else not_carried(left)),
            (-1, ControlCode.FIONREAD, b"", 4),
            (left, 2**70),
            (left, 1, "text"),
            (left, 1, b"", -1),
            (None, 1),
            (),
        ):
            with contextlib.suppress(WinsockError, TypeError, ValueError, OverflowError):
                start_ioctl(*arguments).result()
        with contextlib.suppress(TypeError):
            Operation("socket")


@functools.partial(case, rounds=200)
def operations_that_pend():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        start_ioctl(udp, ControlCode.SIO_ADDRESS_LIST_CHANGE)
        operation = start_ioctl(udp, ControlCode.SIO_ADDRESS_LIST_CHANGE)
        (operation.done(), operation.wait(0))
        with contextlib.suppress(WinsockError):
            operation.result()
        operation.cancel()
        operation.wait(10)
        with contextlib.suppress(WinsockError):
            operation.result()


@functools.partial(case, rounds=100)
def operations_with_a_callback():
    left, right = socket.socketpair()
    with left, right:
        finished = threading.Event()
        start_ioctl(left, ControlCode.FIONREAD, b"", 4, lambda operation: finished.set())
        finished.wait()


@case
def control_of_a_replay():
    with opened(DATAGRAMS, wait=True) as raw:
        set_rcvall(raw, RcvAll.IPLEVEL)
        ioctl(raw, ControlCode.SIO_RCVALL, struct.pack("=I", RcvAll.ON))
        for target in (raw.fileno(), 0, None):
            with contextlib.suppress(WinsockError, TypeError):
                set_rcvall(target, RcvAll.OFF)
        with contextlib.suppress(struct.error):
            set_rcvall(raw, -1)


# Savefile

FRAMES = [savefiles.ethernet(data) for data in DATAGRAMS] + [bytes(60)]
PCAP = savefiles.pcap(map(savefiles.pcap_record, FRAMES), link_type=savefiles.ETHERNET)
TEXTS = [(1, b"comment"), (2, b"eth0"), (3, b"description"), (11, b"\0udp")]
PCAPNG = b"".join(
    (
        savefiles.section(more=TEXTS),
        savefiles.interface(savefiles.ETHERNET, more=TEXTS) * 9,
        *(savefiles.enhanced(frame, more=[(2, bytes(4))]) for frame in FRAMES),
        savefiles.statistics(more=[(5, bytes(8))]),
    )
)


class Pieces:
    def __init__(self, data: bytes, size: int) -> None:
        self.data = io.BytesIO(data)
        self.size = size

    def read(self, size: int) -> bytes:
        return self.data.read(min(size, self.size))


def read_savefile(data: bytes | Pieces, **options) -> None:
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    with open_savefile(source, **options) as savefile:
        for batch in savefile.batches():
            (batch[0], batch.records.tobytes())
        for name in ("format", "byte_order", "interfaces", "comment", "position", "statistics"):
            getattr(savefile, name)
        (savefile.fileno(), repr(savefile))


@functools.partial(case, rounds=200)
def savefiles_from_streams():
    for data in (PCAP, PCAPNG):
        read_savefile(data, filter="udp", snaplen=30)
        read_savefile(data, batch_size=7)
        read_savefile(Pieces(data, 900))
        read_savefile(gzip.compress(data, 1))
    SavefileInterface(None, None, None, 101, 0)


@functools.partial(case, rounds=500)
def savefiles_that_are_mapped():
    with open_savefile(PCAPNG_FILE, batch_size=11) as savefile:
        kept = [next(iter(savefile)) for _ in range(3)]
    with contextlib.suppress(WinsockError):
        savefile.read()
    open_savefile(PCAPNG_FILE).read()
    bytes(kept[0])


def on_disk(data: bytes) -> Path:
    """A file that is there until the program ends."""
    descriptor, name = tempfile.mkstemp()
    with open(descriptor, "wb") as file:
        file.write(data)
    atexit.register(os.unlink, name)
    return Path(name)


PCAPNG_FILE = on_disk(PCAPNG)


@functools.partial(case, rounds=200)
def savefiles_that_are_wrong():
    claims = struct.pack("<II", 6, 2**24)
    for data in (b"", b"nothing", PCAP[:30], PCAPNG[:-1], PCAPNG + claims, PCAPNG + PCAP):
        for source in (io.BytesIO(data), Pieces(data, 900), io.BytesIO(gzip.compress(data)[:-9])):
            with contextlib.suppress(SavefileError):
                list(open_savefile(source))
    for wrong in (None, "/nowhere", io.StringIO("text"), Pieces(PCAP, None)):
        with contextlib.suppress(TypeError, OSError):
            open_savefile(wrong)
    for options in ({"filter": "("}, {"batch_size": 0}, {"snaplen": -1}, {"filter": 7}):
        with contextlib.suppress(ValueError, TypeError, FilterSyntaxError):
            open_savefile(io.BytesIO(PCAP), **options)


@functools.partial(case, rounds=50)
def savefiles_in_cycles():
    pieces = Pieces(PCAP, 900)
    pieces.savefile = open_savefile(pieces)
    pieces.view = next(iter(pieces.savefile))
    del pieces
    gc.collect()


@case
def savefiles_that_are_waited_for():
    for data in (PCAP, PCAP + bytes(16)):
        reader = winsockctl._winsockctl.SavefileReader(io.BytesIO(data).read, batch_size=9)
        reader.wait(0)
        with contextlib.suppress(SavefileError):
            while reader.wait() and reader.receive(0):
                pass
        reader.wait()
        reader.close()
        with contextlib.suppress(WinsockError):
            reader.wait()
    winsockctl._winsockctl.SavefileReader(io.BytesIO(PCAP).read).wait()


@case
def savefile_readers_by_hand():
    Savefile(io.BytesIO(PCAP)).close()
    with contextlib.suppress(TypeError):
        winsockctl._winsockctl.SavefileReader()


# Coroutines


@functools.partial(case, rounds=200)
def coroutines():
    async def main():
        with Replay(DATAGRAMS, batch_size=9) as reader:
            async for _ in reader:
                break
            async for _ in reader.datagrams():
                break
            await reader.read_async()
            async for _ in reader.batches():
                pass
        with contextlib.suppress(WinsockError):
            await reader.read_async()
        with Replay(DATAGRAMS, wait=True) as reader:
            await reader.read_async()
            await reader.read_async(0.0001)
            task = asyncio.create_task(reader.read_async())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            task = asyncio.create_task(reader.read_async())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.gather(task, return_exceptions=True)
        dropped = Replay(DATAGRAMS[:1], wait=True)
        await dropped.read_async()
        await dropped.read_async(0.0001)
        with open_savefile(io.BytesIO(PCAP)) as savefile:
            async for _ in savefile:
                break

    asyncio.run(main())


# Recorder


@case
def recorder():
    with Recorder(os.devnull, interface="lo", filter="udp", comment="note", snaplen=96) as made:
        with Replay(DATAGRAMS) as replay:
            made.record(replay, count=3)
            made.record(replay, bytes=1000)
            made.record(replay, seconds=0)
        made.write(BATCH)
        BATCH.write_to(made)
        made.flush()
        (made.bytes, made.datagrams, made.path, made.paths, made.direct, made.closed, repr(made))
        for arguments in ((), (None,), (BATCH, -1), (BATCH, "1"), (BATCH, 2**70)):
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                made.write(*arguments)
        for limits in ({"count": 0}, {"bytes": -1}, {"seconds": "1"}, {"colour": 1}):
            with contextlib.suppress(TypeError, ValueError):
                made.record(replay, **limits)
    with contextlib.suppress(ValueError):
        made.write(BATCH)


def recorder_that_rotates():
    with (
        Replay(DATAGRAMS) as replay,
        # One path for all rounds: pathlib and tempfile remember what they have seen.
        Recorder(ROTATED, format="pcap", rotate_count=5, files=2) as made,
    ):
        made.record(replay)


ROTATED = os.path.join(tempfile.mkdtemp(), "out.pcap")
atexit.register(shutil.rmtree, os.path.dirname(ROTATED), ignore_errors=True)

case(recorder_that_rotates, rounds=200)


@case
def recorder_that_fails():
    receive, send = os.pipe()
    made = Recorder(send, flush=True)
    os.close(receive)
    for _ in range(2):
        with contextlib.suppress(BrokenPipeError, ValueError):
            made.write(BATCH)
    with contextlib.suppress(BrokenPipeError):
        Recorder(send)
    os.close(send)
    for target in (send, "/dev/full", "/none/of/this", 1.5, "a\0b"):
        with contextlib.suppress(OSError, TypeError, ValueError, AttributeError):
            Recorder(target)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_without_a_network(name):
    check(*CASES[name])


# Real sockets: the kernel waits for other processors when one is closed, so fewer of them.


@pytest.mark.timeout(600)
def test_raw_sockets_that_are_opened_and_closed(live_backend, loopback):
    def action():
        with RawSocket(socket.AF_INET, backend=live_backend, buffer_size=MIB) as raw:
            raw.bind("127.0.0.1")
            set_rcvall(raw, RcvAll.ON)
            raw.receive(0)
            raw.statistics()
        raw = RawSocket(socket.AF_UNSPEC, backend=live_backend, buffer_size=MIB)
        raw.bind("lo")
        set_rcvall(raw.fileno(), RcvAll.IPLEVEL)
        del raw

    check(action, 40)


@pytest.mark.timeout(600)
def test_raw_sockets_whose_calls_fail(live_backend, loopback):
    def action():
        raw = RawSocket(socket.AF_INET6, backend=live_backend, buffer_size=MIB)
        for call in (
            lambda: raw.bind("::"),
            lambda: raw.bind("127.0.0.1"),
            lambda: raw.bind("2001:db8::77"),
            lambda: raw.bind("no-such-interface"),
            lambda: raw.bind(77777),
            lambda: set_rcvall(raw, RcvAll.ON),
            lambda: raw.ioctl(ControlCode.SIO_RCVALL, b""),
            lambda: RawSocket(socket.AF_INET, 6, backend=live_backend, buffer_size=MIB),
            lambda: RawSocket(socket.AF_INET, backend=live_backend, buffer_size=2**60),
        ):
            with contextlib.suppress(WinsockError):
                call().close()

    check(action, 40)


@pytest.mark.timeout(600)
def test_captures(loopback, rcvall):
    def action():
        with Capture("127.0.0.1", buffer_size=MIB, mode=RcvAll.ON) as capture:
            capture.mode = RcvAll.OFF
            (capture.mode, capture.interface, capture.family, capture.fileno(), repr(capture))
            capture.read(0)
        for interface in ("0.0.0.0", "no-such-interface"):
            with contextlib.suppress(WinsockError):
                Capture(interface, buffer_size=MIB)

    check(action, 20)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("length", [200, 65507])
def test_traffic_whose_views_come_and_go(live_backend, loopback, length):
    kept: list[memoryview] = []

    def action():
        for batch in lo.exchange(5, length):
            kept.extend(batch)
            del kept[:-25]

    with Loopback(live_backend) as lo:
        check(action, 300)
        kept.clear()


@pytest.mark.timeout(600)
def test_captures_that_end_while_views_are_kept(live_backend, loopback):
    kept: list[memoryview] = []

    def action():
        with Loopback(live_backend) as lo:
            for batch in lo.exchange(5, 65507):
                kept.extend(batch)
        del kept[:-25]

    check(action, 40)


def without_the_privilege():
    for make in (lambda: Capture("lo"), lambda: RawSocket(socket.AF_INET)):
        with pytest.raises(WinsockPermissionError):
            make()


@pytest.mark.linux
def test_r12_a_process_without_the_privilege(loopback):
    # In a user namespace of its own a process has no rights over the network of another. It begins
    # anew, because a fork takes along the locks that the sanitizer's threads hold.
    program = "import test_leaks; test_leaks.check(test_leaks.without_the_privilege, 1000)"
    done = subprocess.run(
        [network.tool("unshare") or "unshare", "--user", sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_leak_would_be_seen():
    leaked = []
    for leak in (
        lambda: leaked.append(os.dup(0)),
        lambda: leaked.append(BATCH[0]),
        lambda: leaked.append(bytes(100)),
        lambda: leaked.append(opened(wait=True)),
    ):
        with pytest.raises(AssertionError, match="rounds"):
            check(leak, 200)
    for descriptor in leaked:
        if isinstance(descriptor, int):
            os.close(descriptor)


def names_in(code: types.CodeType) -> set[str]:
    inner = (names_in(const) for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*inner)


def test_every_public_name_is_used_by_a_leak_test():
    actions = [getattr(action, "func", action) for action, _ in CASES.values()]
    actions += [
        test
        for name, test in globals().items()
        if name.startswith("test_") and "check" in names_in(test.__code__)
    ]
    used = set().union(*(names_in(action.__code__) for action in actions))
    assert set(winsockctl.__all__) - used == set()
