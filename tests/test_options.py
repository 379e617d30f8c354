"""Every option is checked at once, before the system is asked, with an error that names it."""

import socket
import sys

import memory
import pytest
from datagrams import mixed

import winsockctl
from winsockctl import Capture, RawSocket, RcvAll, Recorder, Replay, WinsockError

MIB = 2**20

WRONG_TYPE = {
    "family": ["AF_INET", 2.0, b"2", [2]],
    "mode": ["ON", 1.5, None, b"\1"],
    "snaplen": ["96", 96.0, b"96", [96]],
    "buffer_size": ["64", 64.0 * MIB, None, [64]],
    "latency": ["0.01", None, b"1", 1j, [1]],
    "backend": [1, b"packet-ring", ["packet-ring"]],
    "protocol": ["0", 0.0, b"0"],
    "batch_size": ["1", 1.0, None],
    "filter": [7, b"udp", ["udp"]],
    "fanout": ["1", 1.0, b"1", [1]],
}
OUT_OF_RANGE = {
    "family": [1, 3, 17, -1, 99, 2**31, 2**64],
    "mode": [4, -1, 2**32],
    "snaplen": [0, -1, 2**32, 2**64],
    "buffer_size": [0, 1, MIB - 1, -1, 2**64],
    "latency": [0, 0.0009, 60.001, -1, float("nan"), float("inf"), float("-inf"), 1e300],
    "backend": ["", "pcap", "packet", "PACKET-RING", "packet-ring\0", "packet-ring "],
    "protocol": [-1, 256, 2**31, 2**64],
    "batch_size": [0, -1, 65537, 2**64],
    "filter": ["upd", "port 65536", "udp and"],
    "fanout": [-1, 2**16, 2**64],
}
CAPTURE = ["family", "mode", "snaplen", "buffer_size", "latency", "filter", "fanout"]
RAW = ["snaplen", "buffer_size", "latency", "fanout", "backend", "protocol"]
REPLAY = ["snaplen", "batch_size", "filter"]
RAW_REPLAY = ["snaplen", "batch_size", "family"]


# What the complaint shows if not the name of the option; a caret is below the place in a filter.
COMPLAINTS = {"mode": "RcvAll", "filter": r"\n +\^"}


def cases(names, values):
    return [(name, value) for name in names for value in values[name]]


@pytest.fixture(autouse=True)
def nothing_is_left_open():
    before = memory.descriptors()
    yield
    assert memory.descriptors() == before


# An interface that cannot exist: if the system were asked first, the answer would be another one.
NOWHERE = "no-such-interface"


@pytest.mark.parametrize(("name", "value"), cases(CAPTURE, WRONG_TYPE))
def test_capture_wrong_type(name, value):
    if name == "family" and value is None:
        return
    with pytest.raises((TypeError, ValueError) if name == "mode" else TypeError) as error:
        Capture(NOWHERE, **{name: value})
    assert not isinstance(error.value, OSError)


@pytest.mark.parametrize(("name", "value"), cases(CAPTURE, OUT_OF_RANGE))
def test_capture_out_of_range(name, value):
    with pytest.raises(ValueError, match=COMPLAINTS.get(name, name)):
        Capture(NOWHERE, **{name: value})


@pytest.mark.parametrize("interface", [None, True, 1.0, b"lo", ["lo"], object()])
def test_capture_interface_of_the_wrong_type(interface):
    with pytest.raises(TypeError, match=r"interface must be .* not \w+"):
        Capture(interface)


@pytest.mark.parametrize(("name", "value"), cases(RAW, WRONG_TYPE))
def test_raw_socket_wrong_type(name, value):
    with pytest.raises(TypeError):
        RawSocket(socket.AF_INET, **{name: value})


@pytest.mark.parametrize(("name", "value"), cases(RAW, OUT_OF_RANGE))
def test_raw_socket_out_of_range(name, value):
    with pytest.raises(ValueError, match=name):
        RawSocket(socket.AF_INET, **{name: value})


@pytest.mark.parametrize("family", WRONG_TYPE["family"])
def test_raw_socket_family_of_the_wrong_type(family):
    with pytest.raises(TypeError):
        RawSocket(family)


@pytest.mark.parametrize("family", OUT_OF_RANGE["family"])
def test_raw_socket_family_out_of_range(family):
    with pytest.raises(ValueError, match="family"):
        RawSocket(family)


@pytest.mark.parametrize(("name", "value"), cases(REPLAY, WRONG_TYPE))
def test_replay_wrong_type(name, value):
    with pytest.raises(TypeError):
        Replay([], **{name: value})


@pytest.mark.parametrize(("name", "value"), cases(REPLAY, OUT_OF_RANGE))
def test_replay_out_of_range(name, value):
    with pytest.raises(ValueError, match=COMPLAINTS.get(name, name)):
        Replay([], **{name: value})


@pytest.mark.parametrize(("name", "value"), cases(RAW_REPLAY, WRONG_TYPE))
def test_raw_socket_replay_wrong_type(name, value):
    with pytest.raises(TypeError):
        RawSocket.replay([], **{name: value})


@pytest.mark.parametrize(("name", "value"), cases(RAW_REPLAY, OUT_OF_RANGE))
def test_raw_socket_replay_out_of_range(name, value):
    with pytest.raises(ValueError, match=name):
        RawSocket.replay([], **{name: value})


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: Capture("lo", **options),
        lambda **options: RawSocket(2, **options),
        lambda **options: Replay([], **options),
        lambda **options: RawSocket.replay([], **options),
        lambda **options: Recorder(1, **options),
    ],
    ids=["Capture", "RawSocket", "Replay", "RawSocket.replay", "Recorder"],
)
def test_an_option_that_does_not_exist(make):
    with pytest.raises(TypeError, match="colour"):
        make(colour="red")


@pytest.mark.parametrize(
    "make",
    [Capture, RawSocket, Replay, RawSocket.replay, Recorder],
    ids=["Capture", "RawSocket", "Replay", "RawSocket.replay", "Recorder"],
)
def test_what_is_required_is_required(make):
    with pytest.raises(TypeError):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Capture("lo", socket.AF_INET),
        lambda: RawSocket(socket.AF_INET, 0, MIB),
        lambda: Replay([], 96),
        lambda: RawSocket.replay([], socket.AF_INET),
        lambda: Recorder(1, "pcap"),
    ],
    ids=["Capture", "RawSocket", "Replay", "RawSocket.replay", "Recorder"],
)
def test_options_are_given_by_name(make):
    with pytest.raises(TypeError):
        make()


@pytest.mark.parametrize(
    "options",
    [
        {"snaplen": 1, "batch_size": 1},
        {"snaplen": 65535, "batch_size": 65536},
        {"snaplen": 2**31 - 1},
        {"snaplen": None},
    ],
)
def test_the_ends_of_the_ranges_are_accepted(options):
    with Replay(mixed(5), **options) as replay:
        assert len(list(replay)) == 5


@pytest.mark.parametrize("family", [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6])
def test_every_family_is_accepted(family):
    with RawSocket.replay([], family=family) as raw:
        assert raw.family == family


@pytest.mark.parametrize("mode", RcvAll)
@pytest.mark.parametrize("plain", [False, True])
def test_a_mode_may_be_given_as_a_number(mode, plain):
    with RawSocket.replay([]) as raw:
        raw.bind("replay")
        winsockctl.set_rcvall(raw, int(mode) if plain else mode)
        assert raw.mode == (RcvAll.OFF if mode is RcvAll.SOCKETLEVELONLY else mode)


@pytest.mark.parametrize("where", [None, 1.5, b"lo", ["lo"]])
def test_bind_of_the_wrong_type(where):
    with RawSocket.replay([]) as raw, pytest.raises(TypeError):
        raw.bind(where)


@pytest.mark.parametrize(
    "where",
    [
        "nul\0byte",
        "lo\0",
        pytest.param(
            "\ud800",
            marks=pytest.mark.skipif(
                sys.platform == "win32", reason="names that cannot be encoded are missing"
            ),
        ),
    ],
)
def test_bind_to_what_can_be_no_name(where):
    with RawSocket.replay([]) as raw, pytest.raises(ValueError, match=r"null|surrogates"):
        raw.bind(where)


@pytest.mark.parametrize("where", [0, -1, 2**31, 2**32 + 1, 2**64 + 1, "", "x" * 5000, "1" * 50])
def test_bind_to_what_can_be_no_interface(live_backend, loopback, where):
    with (
        RawSocket(socket.AF_INET, backend=live_backend, buffer_size=MIB) as raw,
        pytest.raises(WinsockError) as error,
    ):
        raw.bind(where)
    assert error.value.symbol == "WSAEADDRNOTAVAIL"


@pytest.mark.parametrize("snaplen", WRONG_TYPE["snaplen"])
def test_savefile_snaplen_of_the_wrong_type(snaplen, tmp_path):
    with open(tmp_path / "out.pcap", "wb") as file, pytest.raises(TypeError):
        Recorder(file.fileno(), snaplen=snaplen)
    assert (tmp_path / "out.pcap").stat().st_size == 0


@pytest.mark.parametrize("snaplen", OUT_OF_RANGE["snaplen"])
def test_savefile_snaplen_out_of_range(snaplen, tmp_path):
    with open(tmp_path / "out.pcap", "wb") as file, pytest.raises(ValueError, match="snaplen"):
        Recorder(file.fileno(), snaplen=snaplen)
    assert (tmp_path / "out.pcap").stat().st_size == 0
