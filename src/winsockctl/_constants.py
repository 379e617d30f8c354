"""Control codes and their values, as winsock2.h, mstcpip.h and mswsock.h number them."""

from enum import IntEnum


class RcvAll(IntEnum):
    """The values of SIO_RCVALL (contract R1, R4-R7).

    https://learn.microsoft.com/windows/win32/winsock/sio-rcvall
    """

    OFF = 0
    """Nothing is received; promiscuous mode that the socket asked for is dropped."""
    ON = 1
    """Everything that passes, and the adapter is put into promiscuous mode."""
    SOCKETLEVELONLY = 2
    """Accepted, without effect."""
    IPLEVEL = 3
    """Everything that passes without promiscuous mode."""


class ControlCode(IntEnum):
    """The Winsock control codes that the package knows by name (input -> output in bytes).

    https://learn.microsoft.com/windows/win32/winsock/winsock-ioctls
    """

    FIONREAD = 0x4004667F
    SIO_RCVALL = 0x98000001
    SIO_RCVALL_MCAST = 0x98000002
    SIO_RCVALL_IGMPMCAST = 0x98000003
    SIO_KEEPALIVE_VALS = 0x98000004
    SIO_UDP_CONNRESET = 0x9800000C
    SIO_RCVALL_IF = 0x9800000E
    SIO_UDP_NETRESET = 0x9800000F
    SIO_LOOPBACK_FAST_PATH = 0x98000010
    SIO_TCP_INITIAL_RTO = 0x98000011
    SIO_CPU_AFFINITY = 0x98000015
    SIO_SET_PRIORITY_HINT = 0x98000018
    SIO_ACQUIRE_PORT_RESERVATION = 0x98000064
    SIO_RELEASE_PORT_RESERVATION = 0x98000065
    SIO_ASSOCIATE_PORT_RESERVATION = 0x98000066
    SIO_GET_TX_TIMESTAMP = 0x980000EA
    SIO_TIMESTAMPING = 0x980000EB
    SIO_SET_COMPATIBILITY_MODE = 0x9800012C
    SIO_TCP_INFO = 0xD8000027
    SIO_GET_EXTENSION_FUNCTION_POINTER = 0xC8000006
    SIO_ROUTING_INTERFACE_QUERY = 0xC8000014
    SIO_ADDRESS_LIST_QUERY = 0x48000016
    SIO_ADDRESS_LIST_CHANGE = 0x28000017
    SIO_BASE_HANDLE = 0x48000022
    SIO_QUERY_RSS_PROCESSOR_INFO = 0x48000025
    SIO_GET_INTERFACE_LIST = 0x4004747F
    SIO_IDEAL_SEND_BACKLOG_QUERY = 0x4004747B
    SIO_IDEAL_SEND_BACKLOG_CHANGE = 0x2000747A
