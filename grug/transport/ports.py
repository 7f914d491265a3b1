"""From a port as a person writes it to what opens it and how frames are wrapped there."""

from __future__ import annotations

from grug.protocol.framing import Framing, RtuFraming, StoredRtuFraming
from grug.protocol.mbap import MbapFraming
from grug.protocol.ports import tcp_port
from grug.transport.line import LineOpener
from grug.transport.serial import serial_opener
from grug.transport.tcp import tcp_opener


def port_opener(port: str, baudrate: int, framing: str, rs485: str = "off") -> LineOpener:
    """What opens a port.

    Args:
        port: path of a serial port, ``tcp://host:port`` or ``rtu+tcp://host:port``.
        baudrate: bits per second; for serial ports alone, like what follows.
        framing: such as ``8N1``.
        rs485: see ``serial_opener``.

    Raises:
        ValueError: there is no such port, framing or rs485.
    """
    place = tcp_port(port)
    return serial_opener(port, baudrate, framing, rs485) if place is None else tcp_opener(place)


def port_framing(port: str) -> type[Framing]:
    """How frames are wrapped on a port.

    Raises:
        ValueError: there is no such port.
    """
    place = tcp_port(port)
    if place is None:
        return RtuFraming
    return StoredRtuFraming if place.is_rtu else MbapFraming
