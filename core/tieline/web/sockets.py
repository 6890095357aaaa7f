"""Sockets to listen at: our own, and those that outlive who serves at them.

To close a listening socket resets what the kernel holds for it: connections that
nobody took yet, and those of whom the last word is on its way. Both have been
told that they are through. So whoever has the last hold of a socket first turns
newcomers away, takes who waits, and closes then.
"""

from __future__ import annotations

import ctypes
import socket
import sys

from tieline.errors import InvalidInputError

__all__ = ["address_of", "bind", "take_over", "turn_newcomers_away"]

_BACKLOG = 512
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; the socket module has no name for it
_FLAGS_AT, _SYN = 13, 0x02  # of a TCP header
_LOAD_BYTE, _IF_ANY_BIT, _RETURN = 0x30, 0x45, 0x06  # linux/filter.h
_WHOLE = 0xFFFF_FFFF


class _Step(ctypes.Structure):
    """The kernel's ``sock_filter``."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """The kernel's ``sock_fprog``."""

    _fields_ = (("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step)))


def bind(host: str, port: int) -> socket.socket:
    """Listen at an address.

    Args:
        host: Address to bind.
        port: Port to bind; 0 takes a free one.

    Raises:
        InvalidInputError: The address cannot be bound.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return _ready(socket.create_server((host, port), family=family, backlog=_BACKLOG))
    except OSError as error:
        raise InvalidInputError(
            f"{host}:{port} cannot be bound: {error.strerror}",
            hint="choose another --port; 0 takes a free one",
            code="port-taken",
        ) from None


def take_over(descriptor: int) -> socket.socket:
    """Take a socket that whoever started this process listens at, and keeps.

    Args:
        descriptor: Its number; systemd begins with 3.

    Raises:
        InvalidInputError: That is no socket that listens at an address and a port.
    """
    try:
        given = socket.socket(fileno=descriptor)
    except OSError as error:
        raise _useless(descriptor, f"is none: {error.strerror}") from None
    if given.family not in {socket.AF_INET, socket.AF_INET6} or given.type != socket.SOCK_STREAM:
        given.detach()  # not ours to close
        raise _useless(descriptor, "is not one of TCP")
    if not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        given.detach()
        raise _useless(descriptor, "does not listen")
    return _ready(given)


def address_of(listening: socket.socket) -> str:
    """Return where a socket listens, as a base address."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def turn_newcomers_away(listening: socket.socket) -> bool:
    """Have the kernel take no further connection for a socket, and keep those that it has.

    It drops the first packet of a connection. Whoever sent it sends it again a
    second later, and is refused by then, or let in by who came after. Handshakes
    that have begun end as they would have.

    Returns:
        Whether it does; only Linux can.
    """
    if not sys.platform.startswith("linux"):
        return False
    steps = (_Step * 4)(
        _Step(_LOAD_BYTE, 0, 0, _FLAGS_AT),
        _Step(_IF_ANY_BIT, 0, 1, _SYN),
        _Step(_RETURN, 0, 0, 0),
        _Step(_RETURN, 0, 0, _WHOLE),
    )
    try:
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(_Program(len(steps), steps))
        )
    except OSError:  # a kernel that only looks like Linux, as some sandboxes have it
        return False
    return True


def _ready(listening: socket.socket) -> socket.socket:
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _useless(descriptor: int, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"--fd {descriptor} {reason}; a socket that listens at an address and a port is needed",
        hint="systemd hands over its first one as --fd 3, if the service has a .socket unit",
        code="socket-useless",
    )
