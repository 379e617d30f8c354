"""Bytes by port, of an interface or of a savefile, without a Python loop over datagrams.

python ports.py eth0 10          the next 10 seconds of an interface
python ports.py trace.pcapng     a whole savefile
"""

import os
import sys
import time

import numpy

from winsockctl import Batch, Capture, Reader, open_savefile

TCP, UDP = 6, 17


def ports_and_bytes(batch: Batch) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the lower port of each datagram of TCP or UDP, and its bytes on the wire."""
    records = numpy.asarray(batch.records)  # one record a datagram: offset, length, version, ...
    octets = numpy.asarray(batch.buffer)  # the bytes of them all
    is_v4 = records["version"] == 4
    # The header has to be there; a datagram shorter than it claims is left out.
    records = records[records["length"] >= numpy.where(is_v4, 24, 44)]
    start = records["offset"].astype(numpy.intp)
    is_v4 = records["version"] == 4
    protocol = octets[start + numpy.where(is_v4, 9, 6)]
    behind = numpy.where(is_v4, (octets[start] & 15) * 4, 40)  # where the transport header begins
    # A fragment behind the first has no ports.
    is_first = ~is_v4 | (((octets[start + 6] & 0x1F) | octets[start + 7]) == 0)
    chosen = is_first & numpy.isin(protocol, (TCP, UDP)) & (records["length"] >= behind + 4)
    place = (start + behind)[chosen]
    source, destination = (
        octets[place + at].astype(int) << 8 | octets[place + at + 1] for at in (0, 2)
    )
    return numpy.minimum(source, destination), records["original_length"][chosen]


def count(reader: Reader, seconds: float) -> numpy.ndarray:
    """Return the bytes of each port."""
    total = numpy.zeros(65536, numpy.int64)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not reader.ended:
        ports, lengths = ports_and_bytes(reader.read(timeout=left))
        total += numpy.bincount(ports, lengths, minlength=65536).astype(numpy.int64)
    return total


def main() -> None:
    """Count, and print the ten busiest ports."""
    source, *rest = sys.argv[1:]
    seconds = float(rest[0]) if rest else 10.0
    if os.path.exists(source):
        reader: Reader = open_savefile(source)
        seconds = float("inf")
    else:
        reader = Capture(source, filter="tcp or udp", snaplen=128)
    with reader:
        total = count(reader, seconds)
    for port in numpy.argsort(total)[::-1][:10]:
        if total[port]:
            print(f"port {port:<6} {total[port]:>12} bytes")


if __name__ == "__main__":
    main()
