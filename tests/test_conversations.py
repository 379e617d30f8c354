"""What ``winsockctl top`` keeps of each interval, and how it draws it."""

import re
import threading

import pytest
from datagrams import udp
from network import Port

from winsockctl import Replay
from winsockctl.cli import conversations, main
from winsockctl.cli.conversations import HISTORY, Conversations
from winsockctl.cli.counts import Counts
from winsockctl.cli.figures import rest, short, sparkline


def counted(*pairs: tuple[int, int]) -> Counts:
    """Counts of conversations: the last byte of an address, and how many datagrams of 28 bytes."""
    datagrams = [
        udp(source="192.0.2.0", destination=f"192.0.2.{station}")
        for station, count in pairs
        for _ in range(count)
    ]
    counts = Counts()
    with Replay(datagrams) as replay:
        counts.add(replay.read(0))
    return counts


def test_rates_and_totals_of_each_interval() -> None:
    table = Conversations()
    table.tick(counted((1, 10), (2, 1)), 2.0)
    table.tick(counted((2, 4), (3, 1)), 1.0)
    table.tick(counted(), 1.0)
    assert {
        each.name: (each.total.datagrams, each.total.bytes, list(each.rates))
        for each in table.busiest()
    } == {
        "192.0.2.0 - 192.0.2.1": (10, 280, [140.0, 0.0, 0.0]),
        "192.0.2.0 - 192.0.2.2": (5, 140, [14.0, 112.0, 0.0]),
        "192.0.2.0 - 192.0.2.3": (1, 28, [28.0, 0.0]),
    }
    assert [each.name[-1] for each in table.busiest()] == ["1", "2", "3"]
    assert (table.rate, table.datagram_rate) == (0.0, 0.0)
    assert (table.total.datagrams, table.total.bytes) == (16, 448)


def test_the_busiest_are_those_of_late() -> None:
    table = Conversations()
    table.tick(counted((1, 2 * HISTORY)), 1.0)
    for _ in range(HISTORY):
        table.tick(counted((2, 1)), 1.0)
    assert [each.name[-1] for each in table.busiest()] == ["2", "1"]
    assert all(len(each.rates) == HISTORY for each in table.busiest())


def test_what_is_forgotten_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "_MOST", 4)
    table = Conversations()
    table.tick(counted((1, 5), (2, 4), (3, 3), (4, 2)), 1.0)
    assert rest(table, 3) == "and 1 more"
    table.tick(counted((5, 1)), 1.0)
    assert [each.name[-1] for each in table.busiest()] == ["1", "2"]
    assert (table.forgotten.datagrams, table.forgotten.bytes) == (6, 168)
    assert rest(table, 2) == "forgotten: 6 datagrams, 168 B"
    assert table.total.datagrams == 15


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 "),
        (999.4, "999 "),
        (999.5, "1.0 k"),
        (99_449, "99.4 k"),
        (123_456, "123 k"),
        (999_600, "1.0 M"),
        (5.25e9, "5.2 G"),
        (7e15, "7000 T"),
    ],
)
def test_short_numbers(number: float, text: str) -> None:
    assert short(number) == text


def test_sparklines() -> None:
    assert sparkline([0, 1, 4, 8], 6) == "   ▁▄█"
    assert sparkline([100, 0, 1, 2], 2) == "▄█"
    assert sparkline([0, 1, 4, 8], 4, ascii=True) == " .=@"
    assert sparkline([0, 0], 3) == "   "
    assert sparkline([], 3) == "   "


def test_tables_of_a_live_interface(
    loopback: Port, rcvall: object, capsys: pytest.CaptureFixture[str]
) -> None:
    over = threading.Event()

    def send() -> None:
        with loopback.udp() as end:
            while not over.wait(0.02):
                end.sendto(b"x", end.getsockname())

    sender = threading.Thread(target=send)
    sender.start()
    try:
        status = main(["top", loopback.name, "-s", "1.5", "-i", "0.3", "udp"])
    finally:
        over.set()
        sender.join()
    output, errors = capsys.readouterr()
    assert status == 0
    counts = re.findall(r"^127\.0\.0\.1 - 127\.0\.0\.1 +.* (\d+) +\S+ k?B$", output, re.MULTILINE)
    assert len(counts) == output.count("conversation") >= 1
    received = re.match(r"(\d+) received, (?:0|unknown) dropped\n", errors)
    assert received
    assert int(received[1]) == int(counts[-1]) >= 1
