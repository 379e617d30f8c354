"""Capture every IPv4 and IPv6 datagram that passes a network interface, without a driver.

>>> from winsockctl import Capture
>>> with Capture("lo") as capture:          # address, interface name or index
...     for datagram in capture:            # read-only memoryview, IP header first
...         print(len(datagram))

On Windows the work is done by a raw socket and SIO_RCVALL, on Linux by a packet socket;
the calls, the rules and the error numbers are the same.
"""

from winsockctl._capture import Capture
from winsockctl._codes import (
    address_list,
    base_handle,
    interface_list,
    routing_interface,
    set_keepalive,
    set_loopback_fast_path,
    set_rcvall_igmpmcast,
    set_rcvall_mcast,
    set_udp_connreset,
    tcp_info,
    wait_address_list_change,
)
from winsockctl._constants import ControlCode, RcvAll
from winsockctl._control import ioctl, set_rcvall
from winsockctl._filter import Filter, FilterSyntaxError
from winsockctl._interfaces import Interface, interfaces
from winsockctl._operation import Operation, start_ioctl
from winsockctl._reader import Reader, Statistics
from winsockctl._recorder import Recorder
from winsockctl._replay import Replay
from winsockctl._savefile import Savefile, SavefileInterface, open_savefile
from winsockctl._structures import InterfaceInfo, TcpInfo, TcpState
from winsockctl._version import __version__ as __version__
from winsockctl._winsockctl import (
    Batch,
    Datagram,
    Direction,
    RawSocket,
    RecordFlag,
    SavefileError,
    WinsockError,
    WinsockInterruptedError,
    WinsockPermissionError,
    backends,
)

__all__ = [
    "Batch",
    "Capture",
    "ControlCode",
    "Datagram",
    "Direction",
    "Filter",
    "FilterSyntaxError",
    "Interface",
    "InterfaceInfo",
    "Operation",
    "RawSocket",
    "RcvAll",
    "Reader",
    "RecordFlag",
    "Recorder",
    "Replay",
    "Savefile",
    "SavefileError",
    "SavefileInterface",
    "Statistics",
    "TcpInfo",
    "TcpState",
    "WinsockError",
    "WinsockInterruptedError",
    "WinsockPermissionError",
    "address_list",
    "backends",
    "base_handle",
    "interface_list",
    "interfaces",
    "ioctl",
    "open_savefile",
    "routing_interface",
    "set_keepalive",
    "set_loopback_fast_path",
    "set_rcvall",
    "set_rcvall_igmpmcast",
    "set_rcvall_mcast",
    "set_udp_connreset",
    "start_ioctl",
    "tcp_info",
    "wait_address_list_change",
]
