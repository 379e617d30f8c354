"""Who asks for which name, and what the answer is: DNS over UDP, dissected by dpkt.

python dns_log.py eth0           an interface, until Ctrl-C
python dns_log.py trace.pcapng   a savefile
"""

import contextlib
import os
import socket
import sys
from datetime import datetime

import dpkt

from winsockctl import Capture, Datagram, Reader, open_savefile

FILTER = "udp port 53"
ADDRESSES = (
    (dpkt.dns.DNS_A, "ip", socket.AF_INET),
    (dpkt.dns.DNS_AAAA, "ip6", socket.AF_INET6),
)
# Cut off, a fragment, damaged, or made to confuse.
NONSENSE = (dpkt.UnpackError, AttributeError, IndexError, ValueError)
TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA"}


def line_of(datagram: Datagram) -> str:
    """Return a line about a query or an answer; for anything else one of ``NONSENSE`` comes."""
    is_v4 = datagram.data[0] >> 4 == 4
    family = socket.AF_INET if is_v4 else socket.AF_INET6
    packet = (dpkt.ip.IP if is_v4 else dpkt.ip6.IP6)(bytes(datagram.data))
    message = dpkt.dns.DNS(packet.data.data)
    question = message.qd[0]
    is_answer = message.qr == dpkt.dns.DNS_R
    client = socket.inet_ntop(family, packet.dst if is_answer else packet.src)
    moment = datetime.fromtimestamp(datagram.timestamp_ns / 1e9)
    text = (
        f"{moment:%H:%M:%S.%f} {client} {TYPES.get(question.type, question.type)} {question.name}"
    )
    if not is_answer:
        return text
    if message.rcode:
        return f"{text} = error {message.rcode}"
    answers = [
        socket.inet_ntop(family, getattr(answer, field))
        for kind, field, family in ADDRESSES
        for answer in message.an
        if answer.type == kind
    ]
    return f"{text} = {', '.join(answers) or 'no address'}"


def main() -> None:
    """Print a line for each query and each answer."""
    (source,) = sys.argv[1:]
    reader: Reader
    if os.path.exists(source):
        reader = open_savefile(source, filter=FILTER)
    else:
        reader = Capture(source, filter=FILTER)
    with reader, contextlib.suppress(KeyboardInterrupt):
        for datagram in reader.datagrams():
            with contextlib.suppress(*NONSENSE):
                print(line_of(datagram), flush=True)


if __name__ == "__main__":
    main()
