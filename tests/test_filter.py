"""Filters as a user meets them: the language, its errors, and programs that are given.

What a program accepts is compared with libpcap in test_filter_differential.py.
"""

import copy
import pickle

import pytest

from winsockctl import Filter, FilterSyntaxError

ACCEPT = (6, 0, 0, 262144)
REFUSE = (6, 0, 0, 0)


def test_the_empty_expression_accepts_everything() -> None:
    assert Filter("").instructions == Filter(" \n\t").instructions == (ACCEPT,)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("port 53 or 80", "port 53 or port 80"),
        (
            "tcp src port 53 or 80 and 443",
            "(tcp src port 53 or tcp src port 80) and tcp src port 443",
        ),
        ("not port 53 and 80", "(not port 53) and port 80"),
        ("port (53 or not 80)", "port 53 or not port 80"),
        ("port 80 and (tcp or udp) and 90", "port 80 and (tcp or udp) and port 90"),
        ("host 10.0.0.1 or 10.0.0.2", "src or dst host 10.0.0.1 or src or dst 10.0.0.2"),
        ("src 10.0.0.1 or fe80::1", "src host 10.0.0.1 or src host fe80::1"),
        ("ip proto 6 or 17", "ip proto 6 or ip proto 17"),
        ("tcp or udp and ip", "(tcp or udp) and ip"),
        ("tcp and udp or ip", "(tcp and udp) or ip"),
        ("! tcp && udp || ip", "not tcp and udp or ip"),
        ("len == 5", "len = 5"),
        ("less 100", "len <= 100"),
        ("greater 100", "length >= 100"),
        ("len = 0x10", "len = 16"),
        ("len = 020", "len = 16"),
        ("len = 2 + 3 * 4", "len = 14"),
        ("len = (2 + 3) * 4", "len = 20"),
        ("len = 1 | 6 & 3 << 1", "len = 7"),
        ("len = -1", "len = 0xffffffff"),
        ("len = 7 % 4 + 1", "len = 2"),  # as libpcap: 7 % (4 + 1)
        ("len = 1 ^ 3 ^ 2", "len = 0"),
        ("tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", "tcp[13] & 18 = 2"),
        ("tcp[13:1] = 2", "tcp[13] = 2"),
        ("icmp[icmptype] = icmp-echo", "icmp[0] = 8"),
        ("icmp6[icmp6type] = icmp6-neighboradvert", "icmp6[0] = 136"),
        ("icmp", "ip proto 1"),
        ("icmp6", "ip6 proto 58"),
        ("udp", "proto 17"),
        (r"proto \tcp", "tcp"),
        (r"ip6 proto \ipv6-icmp", "icmp6"),
        (r"ip proto \ospf", "ip proto 89"),
        ("net 10", "net 10.0.0.0/8"),
        ("net 192.168", "net 192.168.0.0 mask 255.255.0.0"),
        ("net 192.0.2", "net 192.0.2.0/24"),
        ("net 192.0.2.1", "host 192.0.2.1"),
        ("net 2001:DB8::1", "host 2001:db8:0:0::1"),
        ("net ::ffff:10.0.0.1/128", "host ::ffff:a00:1"),
        ("dst or src port 53", "port 53"),
        ("dst and src port 53", "src and dst port 53"),
        ("portrange 6008-6000", "portrange 6000-6008"),
        ("portrange 53", "port 53"),
        ("port domain", "port 53"),
        ("port http", "tcp port 80"),
        ("port ntp", "udp port 123"),
        ("sctp port domain", "sctp port 53"),
        ("tcp portrange ftp-ssh", "tcp portrange 21-22"),
        ("portrange 20-http", "portrange 20-80"),
    ],
)
def test_two_ways_to_say_the_same(short: str, long: str) -> None:
    assert Filter(short) == Filter(long)
    assert hash(Filter(short)) == hash(Filter(long))
    assert Filter(short) != Filter(f"not ({short})")


@pytest.mark.parametrize(
    ("expression", "place", "reason"),
    [
        # An incomplete or ill-formed expression.
        ("udp port", "", "expected a port number or the name of a common port, but the expression"),
        ("udp and ", "", "expected a primitive"),
        ("and udp", "and udp", "expected a primitive"),
        ("udp tcp", "tcp", "expected 'and', 'or' or the end, but found 'tcp'"),
        ("(udp or tcp", "", "expected ')' for the '(' at offset 0"),
        ("udp)", ")", "expected 'and', 'or' or the end"),
        ("()", ")", "expected a primitive"),
        ("src or port 53", "port 53", "expected 'dst' after 'src or'"),
        ("src and src port 53", "src port", "expected 'dst'"),
        ("len", "", "expected a comparison"),
        ("len >", "", "expected a number"),
        ("1 < len < 5", "< 5", "expected 'and', 'or'"),
        ("tcp[13", "", "expected ']'"),
        ("tcp[13:3] = 1", "3]", "expected a size of 1, 2 or 4 bytes"),
        ("less len", "len", "expected a length in bytes"),
        ("port (53 or udp)", "udp", "expected a port number"),
        ("udp @ tcp", "@", "'@' begins no word"),
        ("len = 1 + é", "é", "begins no word"),
        # Ids without or with the wrong qualifier.
        ("10.0.0.1", "10.0.0.1", "needs a word before it such as 'host' or 'port'"),
        ("53", "53", "needs a word before it"),
        ("udp or 53", "53", "no qualifier to inherit"),
        ("(port 53) or 80", "80", "no qualifier to inherit"),
        ("tcp host 10.0.0.1", "tcp", "'tcp' cannot qualify 'host', only ip, ip6 can"),
        ("ip port 53", "ip", "only tcp, udp, sctp can"),
        ("tcp proto 6", "tcp", "cannot qualify 'proto'"),
        ("ip6 host 10.0.0.1", "10.0.0.1", "is an IPv4 address"),
        ("ip net fe80::/10", "fe80::", "is an IPv6 address"),
        ("port 10.0.0.1", "10.0.0.1", "expected a port number"),
        ("proto tcp", "tcp", r"an escaped name such as '\tcp'"),
        (r"ip proto \nonesuch", r"\nonesuch", "expected a protocol number"),
        # Values out of range.
        ("port 65536", "65536", "expected a port from 0 to 65535"),
        ("portrange 1-65536", "1-65536", "'65536' is none"),
        ("proto 256", "256", "expected a protocol number from 0 to 255"),
        ("len = 4294967296", "4294967296", "does not fit into 32 bits"),
        ("len = 08", "08", "octal"),
        ("len = " + "9" * 5000, "9999", "does not fit into 32 bits"),
        ("len / 0 = 1", "/", "a division by zero"),
        ("len % (2 - 2) = 1", "%", "a division by zero"),
        ("len << 32 = 1", "<<", "31 bits at most"),
        ("host 10.0.0.256", "10.0.0.256", "each part is from 0 to 255"),
        ("host fe80::1::2", "fe80::1::2", "expected an IPv6 address"),
        ("host 00:11:22:33:44:55", "00:11:22:33:44:55", "a datagram has no such address"),
        ("net 10.0.0.1/8", "10.0.0.1", "has bits set that the mask leaves out"),
        ("net fe80::1/10", "fe80::1", "has bits set that the mask leaves out"),
        ("net 10.0.0.0/33", "33", "expected a prefix length from 0 to 32"),
        ("net fe80::/129", "129", "expected a prefix length from 0 to 128"),
        ("net 10/8", "/8", "needs a dotted network"),
        ("net 10.0.0.0 mask 8", "8", "expected a mask"),
        ("host 10.0.0.0/8", "/8", "goes with 'net', not with 'host'"),
        ("host fe80::/64", "/64", "goes with 'net'"),
        # Names.
        ("host www.example.com", "www.example.com", "names are not resolved"),
        ("src localhost", "localhost", "names are not resolved"),
        ("net backbone", "backbone", "names are not resolved"),
        ("port nonesuch", "nonesuch", "'nonesuch' is none"),
        ("port 6000-6008", "6000-6008", "say 'portrange 6000-6008'"),
        ("portrange http", "http", "expected two ports and a hyphen"),
        ("udp port http", "http", "'http' is a port of tcp, not of udp"),
        ("len = 5-3", "5-3", "spaces around '-'"),
        # What a datagram does not tell.
        ("ether host 00:11:22:33:44:55", "ether", "is about the link layer"),
        ("ether[0] & 1 = 0", "ether", "is about the link layer"),
        ("udp and vlan 5", "vlan", "is about the link layer"),
        ("arp", "arp", "a datagram begins with its IP header"),
        ("udp or not arp", "arp", "is about the link layer"),
        ("host arp", "arp", "is about the link layer"),
        ("inbound", "inbound", "is not written in the datagram"),
        ("gateway 10.0.0.1", "gateway", "needs host names"),
        ("ip protochain 6", "protochain", "needs a loop"),
        ("geneve", "geneve", "udp port 6081"),
        ("byte 0 = 5", "byte", "ip[0]"),
        ("broadcast", "broadcast", "say 'ip broadcast'"),
        ("multicast", "multicast", "say 'ip multicast' or 'ip6 multicast'"),
        ("ip6 broadcast", "ip6", "say 'ip broadcast'"),
        ("esp[0] = 1", "esp", "cannot be taken by offset"),
    ],
)
def test_an_error_points_at_the_place(expression: str, place: str, reason: str) -> None:
    with pytest.raises(FilterSyntaxError) as caught:
        Filter(expression)
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.expression == expression
    assert expression[error.position :].strip().startswith(place)
    assert place or error.position == len(expression.rstrip())
    assert reason in error.reason
    message, line, caret = str(error).split("\n")
    assert message == error.reason
    assert line.strip() == expression.strip() or len(expression) > 70
    assert line[caret.index("^") :].startswith(place)


def test_an_error_in_a_long_or_divided_expression_shows_the_part_around_it() -> None:
    ports = " or ".join(map(str, range(1000, 1050)))
    with pytest.raises(FilterSyntaxError) as caught:
        Filter(f"udp and\n\t(port {ports} or nonesuch or {ports})")
    assert str(caught.value).split("\n")[1:] == [
        "  ...r 1044 or 1045 or 1046 or 1047 or 1048 or 1049 or nonesuch or 1000 or ...",
        "                                                       ^",
    ]
    with pytest.raises(FilterSyntaxError) as caught:
        Filter("udp and\n\ttcp or\nnonesuch")
    assert str(caught.value).split("\n")[1:] == ["  nonesuch", "  ^"]


def test_an_error_survives_pickling() -> None:
    with pytest.raises(FilterSyntaxError) as caught:
        Filter("udp port")
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.position) == (str(caught.value), 8)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("(" * 5000 + "udp" + ")" * 5000, "nested too deeply"),
        ("not " * 5000 + "udp", "nested too deeply"),
        ("len = " + "1 + (len * " * 17 + "len" + ")" * 17, "16 intermediate results"),
        ("port " + " or ".join(map(str, range(1000))), "no kernel runs more than 4096"),
    ],
)
def test_an_expression_can_be_too_much(expression: str, reason: str) -> None:
    with pytest.raises(FilterSyntaxError, match=reason):
        Filter(expression)


def test_an_expression_is_text() -> None:
    with pytest.raises(TypeError):
        Filter(b"udp")
    with pytest.raises(TypeError):
        Filter(None)


def test_a_filter_shows_what_it_is() -> None:
    made = Filter("udp  and port 53")
    assert made.expression == str(made) == "udp  and port 53"
    assert repr(made) == "Filter('udp  and port 53')"
    given = Filter.from_instructions([REFUSE])
    assert given.expression is None
    assert str(given) == "1\n6 0 0 0"
    assert repr(given) == "Filter.from_instructions(((6, 0, 0, 0),))"


def test_a_filter_never_changes() -> None:
    made = Filter("udp")
    for name in ("expression", "instructions", "anything"):
        with pytest.raises(AttributeError):
            setattr(made, name, None)


@pytest.mark.parametrize("made", [Filter("udp port 53"), Filter.from_instructions([ACCEPT])])
def test_a_filter_can_be_copied(made: Filter) -> None:
    for other in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert (other, other.expression) == (made, made.expression)


def test_a_filter_is_its_program() -> None:
    made = Filter("tcp port 80 and not host fe80::1")
    for given in (made.instructions, map(list, made.instructions), str_of(made)):
        assert Filter.from_instructions(given) == made
    assert made != made.instructions
    assert len({made, Filter.from_instructions(made.instructions), Filter("tcp port 80")}) == 2


def str_of(made: Filter) -> str:
    return str(Filter.from_instructions(made.instructions))


# Printed by `tcpdump -ddd -y RAW udp port 53` (4.99.3 with libpcap 1.10.3).
LISTING = """\
23
48 0 0 0
84 0 0 240
21 0 6 96
48 0 0 6
21 0 17 17
40 0 0 40
21 14 0 53
40 0 0 42
21 12 13 53
48 0 0 0
84 0 0 240
21 0 10 64
48 0 0 9
21 0 8 17
40 0 0 6
69 6 0 8191
177 0 0 0
72 0 0 0
21 2 0 53
72 0 0 2
21 0 1 53
6 0 0 262144
6 0 0 0
"""


def test_takes_what_tcpdump_prints() -> None:
    given = Filter.from_instructions(LISTING)
    assert len(given.instructions) == 23
    assert given.instructions[2] == (0x15, 0, 6, 96)
    assert given.instructions[-2:] == (ACCEPT, REFUSE)
    assert str(given) == LISTING.strip()


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("", "line 1 announces no count"),
        ("2\n6 0 0 0", "line 1 announces 2, but 1 instructions follow"),
        ("6 0 0 0", r"line 1: expected the count of instructions, got '6 0 0 0'"),
        ("1\n6 0 0", r"line 2: expected code, jt, jf and k, got '6 0 0'"),
        ("1\n(000) ret #0", r"line 2: expected decimal numbers"),
        ("1\n6 0 0 4294967296", r"instruction 0 .*4294967296 is not from 0 to 4294967295"),
    ],
)
def test_refuses_text_that_is_no_listing(listing: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Filter.from_instructions(listing)


LOAD, JUMP, JUMP_IF_EQUAL = 0x20, 0x05, 0x15
READ_WORD, STORE_WORD = 0x60, 0x02


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([], "a program has 1 to 4096 instructions, not 0"),
        ([ACCEPT] * 4097, "not 4097"),
        ([(0x06, 0, 0)], r"instruction 0 \(6, 0, 0\): expected code, jt, jf and k"),
        ([(0x06, 0, 256, 0)], r"instruction 0 .*256 is not from 0 to 255"),
        ([(0x06, 0, 0, -1)], r"instruction 0 .*-1 is not from 0 to 4294967295"),
        ([(LOAD, 0, 0, 0)], r"instruction 0 \(32, 0, 0, 0\): the last instruction has to return"),
        ([ACCEPT, (0xF7, 0, 0, 0), ACCEPT], r"instruction 1 .*there is no operation 0xf7"),
        ([(0x0E, 0, 0, 0)], r"instruction 0 .*there is no operation 0xe"),
        ([(JUMP, 0, 0, 1), ACCEPT], r"instruction 0 .*jumps beyond the end"),
        ([(JUMP, 0, 0, 0xFFFFFFFF), ACCEPT], r"instruction 0 .*jumps beyond the end"),
        ([(JUMP_IF_EQUAL, 0, 1, 5), ACCEPT], r"instruction 0 .*jumps beyond the end"),
        ([(JUMP_IF_EQUAL, 1, 0, 5), ACCEPT], r"instruction 0 .*jumps beyond the end"),
        ([(0x34, 0, 0, 0), ACCEPT], r"instruction 0 .*divides by zero"),
        ([(0x94, 0, 0, 0), ACCEPT], r"instruction 0 .*divides by zero"),
        ([(0x64, 0, 0, 32), ACCEPT], r"instruction 0 .*shifts by more than 31 bits"),
        ([(STORE_WORD, 0, 0, 16), ACCEPT], r"instruction 0 .*only 16 words"),
        ([(READ_WORD, 0, 0, 16), ACCEPT], r"instruction 0 .*only 16 words"),
        ([(READ_WORD, 0, 0, 3), ACCEPT], r"instruction 0 .*reads word 3 .* nothing wrote it"),
        (
            [(JUMP_IF_EQUAL, 0, 1, 5), (STORE_WORD, 0, 0, 3), (READ_WORD, 0, 0, 3), ACCEPT],
            r"instruction 2 .*reads word 3",
        ),
        ([(LOAD, 0, 0, 0xFFFFF000), ACCEPT], r"instruction 0 .*only Linux gives a meaning"),
    ],
)
def test_refuses_a_program_that_could_not_run(program: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Filter.from_instructions(program)


def test_accepts_a_program_at_the_limits() -> None:
    both_ways = [(JUMP_IF_EQUAL, 0, 1, 5), (STORE_WORD, 0, 0, 15), (JUMP, 0, 0, 0), ACCEPT]
    assert Filter.from_instructions(both_ways).instructions == tuple(both_ways)
    assert len(Filter.from_instructions([ACCEPT] * 4096).instructions) == 4096


def test_an_instruction_consists_of_integers() -> None:
    with pytest.raises(TypeError):
        Filter.from_instructions([(6, 0, 0, 1.5)])
    with pytest.raises(TypeError):
        Filter.from_instructions([6, 0, 0, 0])
