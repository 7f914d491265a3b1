"""Serial ports and pseudo-terminals as lines; the only importer of trio_serial.

trio_serial opens and configures the port, but its reads and writes are not used: before each write
it waits until the port is writable, and it gives an empty read for a hangup. ``DescriptorLine``
tries a write first, and a hangup is a LineError.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import termios
from pathlib import Path

from trio_serial import SerialStream
from trio_serial.abstract import Parity, StopBits
from trio_serial.posix import PosixSerialStream

from grug.errors import LineError
from grug.transport.descriptor import DescriptorLine
from grug.transport.line import Line, LineOpener

BY_ID = Path("/dev/serial/by-id")
TTYS = Path("/sys/class/tty")

TIOCGSERIAL = 0x541E
TIOCSSERIAL = 0x541F
ASYNC_LOW_LATENCY = 1 << 13
SERIAL_STRUCT_BYTES_MAX = 128
"""It has 72 on 64-bit machines, fewer on others."""
SERIAL_FLAGS_AT = 4
"""Index of ``flags`` among the ints of serial_struct. Source: Linux, uapi/linux/serial.h and
tty_flags.h."""

TIOCSRS485 = 0x542F
SERIAL_RS485_INTS = 8
"""Flags, two delays, padding. Source: Linux, uapi/linux/serial.h, serial_rs485."""
RS485_FLAGS = {"off": 0, "rts": 0b011, "rts-low": 0b101}
"""Bit 0 enables it, bit 1 has RTS high while sending, bit 2 after that. Source: as above."""

FTDI_LATENCY_MS = 1
"""An FTDI chip holds received bytes back for up to 16 ms unless told otherwise; 1 is its least."""

_PARITIES = {"N": Parity.NONE, "E": Parity.EVEN, "O": Parity.ODD}
_STOP_BITS = {"1": StopBits.ONE, "2": StopBits.TWO}


def serial_opener(port: str, baudrate: int, framing: str = "8N1", rs485: str = "off") -> LineOpener:
    """Make what opens a port, again and again.

    Args:
        port: path of the port, or of a link to it; a pseudo-terminal will do.
        baudrate: bits per second.
        framing: data bits, parity (N, E, O) and stop bits, such as ``8N1`` or ``8E1``.
        rs485: ``rts`` or ``rts-low`` where the kernel has to switch the line's direction, by
            setting RTS high or low while it sends; ``off`` where the adapter sees to it.

    Raises:
        ValueError: there is no such framing or rs485.
    """
    direction = RS485_FLAGS.get(rs485)
    if direction is None:
        raise ValueError(f"rs485 {rs485!r} is not {', '.join(RS485_FLAGS)}")
    framing = framing.upper()
    if len(framing) != 3 or framing[0] not in "78" or framing[1] not in _PARITIES:
        raise ValueError(f"framing {framing!r} is not like 8N1, 8E1, 8O1 or 8N2")
    if framing[2] not in _STOP_BITS:
        raise ValueError(f"framing {framing!r} has {framing[2]} stop bits, not 1 or 2")

    async def open_line() -> Line:
        stream = SerialStream(
            port,
            exclusive=True,
            baudrate=baudrate,
            bytesize=int(framing[0]),
            parity=_PARITIES[framing[1]],
            stopbits=_STOP_BITS[framing[2]],
        )
        assert isinstance(stream, PosixSerialStream), "grug runs where ports are files"
        try:
            await stream.aopen()
            try:
                _configure(stream.fd)
                if direction:
                    _switch_direction(stream.fd, port, direction)
            except BaseException:
                await stream.aclose()
                raise
        except (OSError, termios.error, ValueError) as error:
            raise LineError(_advice(port, error)) from error
        _lower_latency(stream.fd, port)
        return _SerialLine(stream, port)

    return open_line


class _SerialLine(DescriptorLine):
    """See ``Line``. A terminal says by an empty read that it was hung up, see _configure."""

    def __init__(self, stream: PosixSerialStream, port: str) -> None:
        super().__init__(stream.fd, f"{port} was unplugged")
        self._stream = stream

    async def aclose(self) -> None:
        """See ``Line.aclose``."""
        # The kernel would wait up to 30 s for a stalled adapter to send the rest.
        self._drop_output()
        self._fd = -1
        await self._stream.aclose()

    def _drop_output(self) -> None:
        if self._fd < 0:
            return
        with contextlib.suppress(termios.error):  # It is gone; whoever reads next will say so.
            termios.tcflush(self._fd, termios.TCOFLUSH)


def _configure(fd: int) -> None:
    """What trio_serial leaves to do: locking and an unambiguous end of input."""
    attributes = termios.tcgetattr(fd)
    # With 0, as trio_serial sets it, a port without input reads as empty, just as one that hung up.
    attributes[6][termios.VMIN] = 1
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    if not os.ttyname(fd).startswith("/dev/pts/"):
        # A pseudo-terminal would stay exclusive for as long as its other end lives, though we
        # crash; the lock on the file that trio_serial takes has to do there.
        fcntl.ioctl(fd, termios.TIOCEXCL)
    termios.tcflush(fd, termios.TCIOFLUSH)


def _switch_direction(fd: int, port: str, flags: int) -> None:
    """Let the kernel set RTS while it sends.

    Raises:
        LineError: the driver cannot.
    """
    setting = array.array("I", [flags] + [0] * (SERIAL_RS485_INTS - 1))
    try:
        fcntl.ioctl(fd, TIOCSRS485, setting)
    except OSError as error:
        raise LineError(
            f"{port}: its driver does not switch the direction of an RS485 line"
            f" ({error.strerror}); leave out 'rs485' if the adapter does it by itself"
        ) from error


def _lower_latency(fd: int, port: str) -> None:
    """Ask driver and chip to hand bytes over at once; some cannot, some will not let us."""
    setting = array.array("i", [0] * (SERIAL_STRUCT_BYTES_MAX // 4))
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, TIOCGSERIAL, setting)
        setting[SERIAL_FLAGS_AT] |= ASYNC_LOW_LATENCY
        fcntl.ioctl(fd, TIOCSSERIAL, setting)
    timer = Path(TTYS, os.path.basename(os.path.realpath(port)), "device/latency_timer")
    with contextlib.suppress(OSError):
        if int(timer.read_text()) > FTDI_LATENCY_MS:
            timer.write_text(str(FTDI_LATENCY_MS))


def port_advice(port: str, by_id: Path = BY_ID) -> str:
    """What to write instead of a name that changes with the next plug; empty when all is well."""
    if not port.startswith(("/dev/ttyUSB", "/dev/ttyACM")):
        return ""
    real = os.path.realpath(port)
    for link in _entries(by_id):
        if os.path.realpath(link) == real:
            return f"{port} may be another adapter after the next plug; write {link}"
    return f"{port} may be another adapter after the next plug; write its name in {by_id}"


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _advice(port: str, error: BaseException) -> str:
    """Why a port could not be opened, and what a person can do about it."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    number = cause.args[0] if cause.args else None
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        names = ", ".join(str(each) for each in _entries(BY_ID)) or "no adapter at all"
        renamed = port_advice(port)
        return f"{port} is not there; there is: {names}" + (f"; {renamed}" if renamed else "")
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"{port} may not be opened: add the user to the group dialout"
            " (sudo usermod -aG dialout NAME) and log in again"
        )
    if number in (errno.EBUSY, errno.EAGAIN):
        return f"{port} is in use by {_users_of(port) or 'another program'}"
    if number == errno.ENOTTY:
        return f"{port} is not a serial port"
    return f"{port} could not be opened: {error}"


def _users_of(port: str) -> str:
    """Programs that have the port open, as far as we may see, such as ``mbpoll (4711)``."""
    real = os.path.realpath(port)
    users = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.path.realpath(fd) == real for fd in (process / "fd").iterdir()):
                users.append(f"{(process / 'comm').read_text().strip()} ({process.name})")
    return ", ".join(users)
