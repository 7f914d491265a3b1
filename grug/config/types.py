"""house.toml as typed values; ``check`` reads and checks the file.

The values cross to the data process as JSON, so that everything here must survive that.
"""

from __future__ import annotations

from typing import Literal, NewType

import msgspec

from grug.codec.registers import UnknownReads
from grug.model import Aim, Priority

Seconds = NewType("Seconds", float)
"""A duration; the file may say it as a text, see ``build.parse_duration``."""


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts of the configuration."""


class SiteConfig(Struct, frozen=True):
    """The house."""

    name: str = "home"
    state: str = "/var/lib/grug"
    """Directory of the log, the database and whatever must survive a restart."""


class LineConfig(Struct, frozen=True):
    """One RS485 line, that is one adapter, gateway, or device on the network."""

    port: str
    """Path of a serial port (by-id, please) or of a pseudo-terminal; ``tcp://host:port`` for Modbus
    TCP, ``rtu+tcp://host:port`` for RTU frames over TCP."""
    baudrate: int = 9600
    """Over TCP, that of the wire behind the gateway."""
    framing: str = "8N1"
    timeout: Seconds = Seconds(0.3)
    """How long a unit may take to begin its reply."""
    gap: Seconds | None = None
    """Silence between two frames; None means at least 5 ms, and 3.5 characters once that has
    long gone well; 0 on Modbus TCP."""
    switch_gap: Seconds = Seconds(0.0)
    """Silence before another unit is asked than the last one, where that is more than the gap."""
    settle: Seconds = Seconds(0.0)
    """Pause after opening."""
    turnaround: Seconds = Seconds(0.015)
    """How long a unit usually takes to begin its reply; polls are planned by it, and what units
    really take is learned. Default: 10 to 20 ms with the seed's meters and inverters."""
    rs485: Literal["off", "rts", "rts-low"] = "off"
    """Whether the kernel has to switch the direction of the line with RTS, which is high while we
    send, or low; most adapters do it by themselves."""


class PollConfig(Struct, frozen=True):
    """Registers of one device that are read together, again and again."""

    every: Seconds
    registers: tuple[str, ...]
    priority: Priority = Priority.NORMAL
    snapshot: bool = False
    """Whether all of them have to be of one moment, and so come in one request."""


class DeviceConfig(Struct, frozen=True):
    """One unit on a line that grug asks."""

    line: str
    unit: int
    map: str
    turnaround: Seconds | None = None
    """How long it usually takes to begin its reply; None means the line's."""
    poll: tuple[PollConfig, ...] = ()


class FakeMeterConfig(Struct, frozen=True):
    """One meter port of an inverter, on which grug answers as a meter."""

    line: str
    unit: int
    profile: str
    """Name of the map of the meter that grug pretends to be."""
    max_age: Seconds = Seconds(1.5)
    phases: tuple[int, ...] = ()
    """Of a three-phase profile: the phases, 1..3, that the power is told on; empty means all."""
    turnaround: Seconds | None = None
    """Silence between question and answer; None means 3.5 characters, as Modbus wants it."""
    unknown: UnknownReads | None = None
    """What a read that touches no register of the profile is answered with; None leaves that to
    the profile."""
    identity: dict[str, float] = {}
    """Registers of the profile that always read the same, such as a serial number."""


class PowerSaveConfig(Struct, frozen=True):
    """When an inverter is switched off and on."""

    soc_off: float = 10.0
    """It goes off at this state of charge in % and below, if it is dark, too."""
    soc_on: float = 15.0
    """It comes back at this and above."""
    pv_off: float = 60.0
    """It is dark when no string has as many V."""
    pv_on: float = 90.0
    """It comes back when one has more."""
    off_after: Seconds = Seconds(600.0)
    """How long it must be empty and dark."""
    on_after: Seconds = Seconds(120.0)
    """How long there must be sun, or something in the battery."""
    rest: Seconds = Seconds(900.0)
    """Least time between two switchings."""


class InverterConfig(Struct, frozen=True):
    """One inverter that is steered, through its fake meter or by its registers."""

    device: str
    """The device on its COM port."""
    fakemeter: str = ""
    """The fake meter at its meter port; empty for one that has a true meter of its own there, which
    is told an offset by its registers alone."""
    meter: str = ""
    """The device that measures its AC port; empty when there is none."""
    share: float = 1.0
    """Its part of the house's power, relative to the other inverters' shares."""
    gain: float | None = None
    """W per second by which it changes for each W that its meter shows; ``grug identify-plant``
    measures this and the two that follow. While it or the dead time is not known, the inverters are
    told the plain power, as their meter would tell it."""
    dead_time: Seconds | None = None
    """From an answer of its meter until its AC port begins to move."""
    lag: Seconds = Seconds(0.1)
    """Time constant of the move itself."""
    control: Literal["mitm", "dispatch", "both"] = "mitm"
    """How an offset reaches it: ``mitm`` by what its meter says; ``dispatch`` by its registers
    alone; ``both`` by its registers where the firmware has them, else by its meter."""
    failsafe: Seconds = Seconds(60.0)
    """By its registers: the inverter takes back control after this long without a word of grug."""
    keep_clock: bool = False
    """Set its clock when that is wrong by a minute or more."""
    power_save: PowerSaveConfig | None = None
    """Switch it off while it has nothing to give; None leaves it on."""


class GridConfig(Struct, frozen=True):
    """Where the house's true grid power is read."""

    device: str
    register: str = "total_power"
    """In W, plus = import."""
    live: Seconds | None = None
    """An older reading is no longer live: the second meter is believed if it is, and if not, the
    offset goes to zero until the last reading is too old for the fake meters. None means 0.7 s, and
    at least one and a half times the poll's period."""
    second: str = ""
    """``device/register`` of another meter at the same place, in W, plus = import, or with a ``-``
    before it plus = export: it is believed while the first is not live; empty when there is none.
    An inverter that has a true meter of its own may be it."""
    second_max_age: Seconds = Seconds(1.5)
    """An older reading of the second meter is of no use."""

    @property
    def second_series(self) -> tuple[str, str]:
        """Device and register of ``second``; both empty when there is none."""
        device, _, register = self.second.removeprefix("-").partition("/")
        return device, register

    @property
    def second_sign(self) -> float:
        """What its register is multiplied by to make import plus."""
        return -1.0 if self.second.startswith("-") else 1.0


class OffsetConfig(Struct, frozen=True):
    """The power offset at start and its limits."""

    power: float = 0.0
    """W added to the grid power that the inverters see; plus makes them export, minus absorb."""
    limit: float = 6000.0
    """Largest absolute offset in W that is ever served."""
    export_max: float | None = None
    """No offset makes the house export more than this many W; None leaves that to ``limit``."""
    import_max: float | None = None
    """No offset makes the house import more than this many W; None leaves that to ``limit``."""
    slew: float = 1000.0
    """Fastest change of the offset, in W per second."""
    reserve: float = 90.0
    """W exported on purpose, so that less is imported when something is switched on; only while a
    battery is nearly full, the sun gives more than is used, and nobody wishes anything."""
    circulation: float = 300.0
    """More W than this may not go from one battery into another for longer than the next key."""
    circulation_time: Seconds = Seconds(20.0)


class ScheduleConfig(Struct, frozen=True):
    """A standing wish for certain hours of certain days, in the house's local time."""

    start: str
    """Time of day, ``HH:MM``."""
    end: str
    """Time of day, ``HH:MM`` up to ``24:00``; of the next day when it is not after ``start``."""
    power: float
    """In W; what its plus means is the aim's."""
    aim: Aim = Aim.OFFSET
    per_soc: float = 0.0
    """W added to ``power`` for each percent of the batteries' state of charge."""
    target: str = "house"
    """The whole house, or one inverter."""
    days: tuple[str, ...] = ()
    """Weekdays on which it starts, ``mon`` to ``sun``; every day when there are none."""
    first: str = ""
    """The first date on which it starts, ``YYYY-MM-DD``; empty when there is no first."""
    last: str = ""
    """The last date on which it starts, ``YYYY-MM-DD``; empty when there is no last."""
    why: str = ""
    """A word for the log."""


class EvseConfig(Struct, frozen=True):
    """One charger, held at a fixed limit."""

    device: str
    limit: float
    """Current limit in A; below 6 pauses the car."""
    meter: str = ""
    """The device that measures what the car takes; empty when there is none."""
    resend: Seconds = Seconds(10.0)
    on_stop: float | None = None
    """Limit in A to leave behind when grug stops; None leaves the last one."""


class WritesConfig(Struct, frozen=True):
    """What may be written to registers that wear out, and how writes are checked."""

    interval: Seconds = Seconds(10.0)
    """Least time between two writes of one register that wears."""
    per_year: int = 500
    """Writes of one such register in 365 days."""
    device_per_year: int = 3000
    """Writes of all such registers of one device in 365 days."""
    settle: Seconds = Seconds(0.2)
    """Pause before a written register is read back."""


class LogConfig(Struct, frozen=True):
    """The ring on disk."""

    block: Seconds = Seconds(10.0)
    """At most this much is lost at a power cut."""
    max_bytes: int = 4_000_000_000
    max_age_days: float = 365.0
    reserve_bytes: int = 500_000_000
    """Free space that is always left to others."""
    frames: bool = True
    """Keep what was on the wires, too, in a ring of its own."""
    frames_max_bytes: int = 100_000_000
    """Of that ring: more than a week of the example house."""
    serve: str = ""
    """Host and port for ``grug ship --from``; empty serves nobody."""
    token: str = ""
    """Without which nothing is served."""


class ShipConfig(Struct, frozen=True):
    """The database."""

    to: str = ""
    """``chdb:`` for the embedded one in the state directory, ``http(s)://…`` for a server; empty
    ships nothing."""


class HouseConfig(Struct, frozen=True):
    """The whole file."""

    line: dict[str, LineConfig]
    device: dict[str, DeviceConfig]
    site: SiteConfig = SiteConfig()
    grid: GridConfig | None = None
    fakemeter: dict[str, FakeMeterConfig] = {}
    inverter: dict[str, InverterConfig] = {}
    offset: OffsetConfig = OffsetConfig()
    schedule: dict[str, ScheduleConfig] = {}
    evse: dict[str, EvseConfig] = {}
    writes: WritesConfig = WritesConfig()
    log: LogConfig = LogConfig()
    ship: ShipConfig = ShipConfig()
