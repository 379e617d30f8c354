"""Write the seeds of the fuzz targets into a folder for each: ``python3 fuzz/seeds.py FOLDER``."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import savefiles
from datagrams import mixed

# ip proto 17 and a byte of its payload, through every class of instruction
PROGRAM = [
    (0x30, 0, 0, 9),
    (0x15, 0, 7, 17),
    (0xB1, 0, 0, 0),
    (0x40, 0, 0, 8),
    (0x02, 0, 0, 3),
    (0x74, 0, 0, 4),
    (0x61, 0, 0, 3),
    (0x2C, 0, 0, 0),
    (0x16, 0, 0, 0),
    (0x06, 0, 0, 0),
]


def savefile_seeds() -> list[bytes]:
    seeds = [b""]
    for link_type, wrap in savefiles.LINKS.values():
        packets = [wrap(datagram) for datagram in mixed(6)]
        seeds.append(savefiles.pcap(map(savefiles.pcap_record, packets), link_type=link_type))
    for order in "<>":
        front = savefiles.section(order=order, more=[(1, b"comment")])
        front += savefiles.interface(order=order, more=[(2, b"eth0"), (9, b"\x09"), (11, b"\0ip")])
        front += savefiles.interface(1, order=order, more=[(9, b"\x94"), (14, bytes(7) + b"\1")])
        seeds.append(front)
        for make in (savefiles.enhanced, savefiles.obsolete, savefiles.simple):
            seeds.append(front + b"".join(make(data, order=order) for data in mixed(6)))
        flags = [(2, struct.pack(order + "I", 2))]
        seeds.append(
            front
            + savefiles.enhanced(
                savefiles.ethernet(mixed(1)[0]), 7, order=order, number=1, more=flags
            )
            + savefiles.block(0xBAD, b"unknown.", order=order)
            + savefiles.statistics(order=order, more=[(5, bytes(7) + b"\3")])
            + front
        )
    return [bytes([place % 256]) + seed for place, seed in enumerate(seeds)]


def filter_seeds() -> list[bytes]:
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in PROGRAM)
    return [bytes([len(PROGRAM) - 1]) + program + datagram for datagram in mixed(6)]


def ipv6_header_seeds() -> list[bytes]:
    known = struct.pack("!iiiBB", 64, 0, -1, 1, 0)
    return [data[8:40] + known + data[40:] for data in mixed(12) if data[0] >> 4 == 6]


def main() -> None:
    folder = Path(sys.argv[1])
    for name, seeds in (
        ("savefile", savefile_seeds()),
        ("filter", filter_seeds()),
        ("ipv6_header", ipv6_header_seeds()),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place, seed in enumerate(seeds):
            (folder / name / f"seed-{place:02}").write_bytes(seed)


main()
