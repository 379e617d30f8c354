"""C7: every failure carries the Winsock number and name, the call, and what to do."""

import copy
import errno
import pickle
import socket
import struct

import pytest

import winsockctl
from winsockctl import (
    ControlCode,
    RawSocket,
    RcvAll,
    WinsockError,
    WinsockInterruptedError,
    WinsockPermissionError,
    ioctl,
    set_rcvall,
)

linux = pytest.mark.linux

# The numbers that the contract names, and the POSIX number that stands beside each.
CODES = {
    10004: ("WSAEINTR", errno.EINTR),
    10013: ("WSAEACCES", errno.EACCES),
    10014: ("WSAEFAULT", errno.EFAULT),
    10022: ("WSAEINVAL", errno.EINVAL),
    10024: ("WSAEMFILE", errno.EMFILE),
    10036: ("WSAEINPROGRESS", errno.EINPROGRESS),
    10038: ("WSAENOTSOCK", errno.ENOTSOCK),
    10042: ("WSAENOPROTOOPT", errno.ENOPROTOOPT),
    10045: ("WSAEOPNOTSUPP", errno.EOPNOTSUPP),
    10049: ("WSAEADDRNOTAVAIL", errno.EADDRNOTAVAIL),
    10050: ("WSAENETDOWN", errno.ENETDOWN),
    10055: ("WSAENOBUFS", errno.ENOBUFS),
}
WITHOUT_ERRNO = {
    995: "WSA_OPERATION_ABORTED",
    997: "WSA_IO_PENDING",
}


def failure_of(code: int) -> WinsockError:
    """Have a real call fail with that number."""
    with pytest.raises(WinsockError) as error:
        RawSocket.replay([], faults={"socket": code})
    return error.value


@pytest.mark.parametrize("code", CODES)
def test_c7_number_name_call_and_errno(code):
    symbol, number = CODES[code]
    error = failure_of(code)
    assert (error.code, error.symbol, error.call) == (code, symbol, "socket")
    assert error.errno == number
    assert isinstance(error, OSError)
    assert error.strerror.startswith(f"socket failed with {symbol} ({code})")
    assert symbol in str(error)
    assert str(code) in str(error)


@pytest.mark.parametrize("code", WITHOUT_ERRNO)
def test_c7_numbers_that_posix_does_not_have(code):
    error = failure_of(code)
    assert (error.code, error.symbol) == (code, WITHOUT_ERRNO[code])
    assert error.symbol in str(error)
    assert str(code) in str(error)


def test_c7_an_unknown_number_is_still_told():
    error = failure_of(12345)
    assert error.code == 12345
    assert "12345" in str(error)


def test_c7_the_fitting_built_in_subclass():
    assert type(failure_of(10013)) is WinsockPermissionError
    assert isinstance(failure_of(10013), PermissionError)
    assert type(failure_of(10004)) is WinsockInterruptedError
    assert isinstance(failure_of(10004), InterruptedError)
    for code in CODES.keys() - {10004, 10013}:
        assert type(failure_of(code)) is WinsockError
    assert issubclass(WinsockPermissionError, WinsockError)
    assert issubclass(WinsockInterruptedError, WinsockError)


def test_c7_the_hint_is_part_of_the_message():
    with RawSocket.replay([]) as raw, pytest.raises(WinsockError) as caught:
        set_rcvall(raw, RcvAll.ON)
    error = caught.value
    assert error.hint
    assert error.strerror == f"{error.call} failed with {error.symbol} ({error.code}): {error.hint}"


def test_c7_without_a_hint_the_message_has_no_loose_end():
    for code in CODES:
        error = failure_of(code)
        assert isinstance(error.hint, str)
        assert not error.strerror.rstrip().endswith(":")


def run_all_steps(faults) -> None:
    with RawSocket.replay([], faults=faults) as raw:
        raw.bind("replay")
        set_rcvall(raw, RcvAll.ON)
        raw.receive(0)


def test_every_failing_step_names_its_call():
    seen = set()
    for step in ("socket", "bind", "WSAIoctl", "receive"):
        with pytest.raises(WinsockError) as caught:
            run_all_steps({step: 10050})
        seen.add(caught.value.call)
    assert seen == {"socket", "bind", "WSAIoctl(SIO_RCVALL)", "receive"}


def test_an_error_can_be_pickled_and_copied():
    for code in (10022, 10013, 10004):
        error = failure_of(code)
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(other) is type(error)
            assert str(other) == str(error)
            for name in ("code", "symbol", "call", "hint", "errno", "strerror"):
                assert getattr(other, name) == getattr(error, name)


def test_the_classes_live_in_the_package():
    for error in (WinsockError, WinsockPermissionError, WinsockInterruptedError):
        assert error.__module__.startswith("winsockctl")
        assert getattr(winsockctl, error.__name__) is error


@pytest.mark.parametrize("code", [10045, 10022])
def test_catching_by_errno_works_as_for_any_os_error(code):
    try:
        RawSocket.replay([], faults={"socket": code})
    except OSError as error:
        assert error.errno == CODES[code][1]  # noqa: PT017
    else:
        pytest.fail("the call did not fail")


# ioctl() on sockets that are not ours, as a script would call it.


def ioctl_failure(*arguments) -> WinsockError:
    with pytest.raises(WinsockError) as error:
        ioctl(*arguments)
    return error.value


@linux
def test_c2_no_socket(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        assert ioctl_failure(file, ControlCode.FIONREAD, b"", 4).code == 10038
        assert ioctl_failure(file.fileno(), ControlCode.SIO_RCVALL, bytes(4)).code == 10038
        number = file.fileno()
    assert ioctl_failure(number, ControlCode.FIONREAD, b"", 4).symbol == "WSAENOTSOCK"
    closed = socket.socket()
    closed.close()
    with pytest.raises((WinsockError, ValueError)):
        ioctl(closed, ControlCode.FIONREAD, b"", 4)


def test_c1_output_is_what_the_system_reported():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp_socket:
        udp_socket.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"12345", udp_socket.getsockname())
        assert ioctl(udp_socket, ControlCode.FIONREAD, b"", 4) == struct.pack("=I", 5)
        assert ioctl(udp_socket.fileno(), ControlCode.FIONREAD, b"", 64) == struct.pack("=I", 5)


@pytest.mark.parametrize("out_size", [0, 1, 3])
def test_c8_too_small_an_output(out_size):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp_socket:
        assert ioctl_failure(udp_socket, ControlCode.FIONREAD, b"", out_size).code in (10014, 10022)


@linux
def test_c3_codes_that_are_not_carried_and_codes_that_are_none():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp_socket:
        assert ioctl_failure(tcp_socket, ControlCode.SIO_CPU_AFFINITY, bytes(4)).code == 10045
        assert ioctl_failure(tcp_socket, 0x98007777, bytes(4)).code == 10022
        assert ioctl_failure(tcp_socket, 0, b"").code == 10022
        assert ioctl_failure(tcp_socket, ControlCode.SIO_RCVALL, bytes(4)).code == 10022


@pytest.mark.parametrize("code", [-1, 2**32, 2**64])
def test_a_code_that_is_no_32_bit_number_is_refused(code):
    with socket.socket() as tcp_socket, pytest.raises((OverflowError, ValueError)):
        ioctl(tcp_socket, code)


@pytest.mark.parametrize(
    "arguments",
    [
        ("socket", ControlCode.FIONREAD),
        (None, ControlCode.FIONREAD),
        (1.0, ControlCode.FIONREAD),
        (0, "FIONREAD"),
        (0, ControlCode.FIONREAD, "text"),
        (0, ControlCode.FIONREAD, 4),
        (0, ControlCode.FIONREAD, b"", "4"),
    ],
)
def test_arguments_of_the_wrong_type(arguments):
    with pytest.raises(TypeError):
        ioctl(*arguments)


@pytest.mark.parametrize("out_size", [-1, 2**63, 2**64])
def test_an_impossible_output_size_is_refused(out_size):
    with socket.socket() as tcp_socket, pytest.raises((ValueError, OverflowError, MemoryError)):
        ioctl(tcp_socket, ControlCode.FIONREAD, b"", out_size)
