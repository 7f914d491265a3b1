"""View actor: the house on one terminal screen, redrawn twice a second.

In:    readings, decisions, counters and events, from the feed
Out:   the terminal
Owns:  the screen
Stops: when cancelled

It lives in the data process, so that drawing never delays a line. What is old is shown as old.
"""

from __future__ import annotations

import math
from collections import deque

import trio
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from grug.config.types import HouseConfig
from grug.messages import (
    Decided,
    FakeMeterCounted,
    LineChanged,
    LineCounted,
    LogCounted,
    Message,
    Readings,
    ReadingsMissing,
    ShipCounted,
    WriteDone,
    WriteFailed,
)
from grug.model import Quality, Value
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.storage.series import event_of

REDRAW_S = 0.5
OLD_AFTER_S = 15.0
"""A value older than this is drawn as unknown: the slowest on the screen is read every 10 s."""
EVENTS_SHOWN = 7
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_POINTS = 28
"""One per redraw: the last 14 s."""
WAITING_MESSAGES_MAX = 20_000
"""Messages between two redraws, at a hundred times what a large house publishes."""


class Board:
    """What was heard last, of everything."""

    def __init__(self) -> None:
        self.now_s = -math.inf
        self.values: dict[tuple[str, str], tuple[Value, float]] = {}
        self.decided: dict[str, Decided] = {}
        self.lines: dict[str, LineCounted] = {}
        self.is_up: dict[str, LineChanged] = {}
        self.fakemeters: dict[str, FakeMeterCounted] = {}
        self.log: LogCounted | None = None
        self.ship: ShipCounted | None = None
        self.events: deque[tuple[float, str]] = deque(maxlen=EVENTS_SHOWN)
        self.grid_powers_w: deque[float] = deque(maxlen=SPARK_POINTS)

    def hear(self, message: Message) -> None:
        """Take one message in."""
        match message:
            case Readings():
                self._hear_readings(message)
            case ReadingsMissing():
                for name in message.names:
                    self.values.pop((message.device, name), None)
            case Decided():
                self.decided[message.controller] = message
            case LineCounted():
                self.lines[message.line] = message
                self.now_s = max(self.now_s, message.counted_s)
            case FakeMeterCounted():
                self.fakemeters[message.fakemeter] = message
            case LogCounted():
                self.log = message
            case ShipCounted():
                self.ship = message
            case _:
                if isinstance(message, LineChanged):
                    self.is_up[message.line] = message
                is_routine = isinstance(message, WriteDone | WriteFailed)
                if not is_routine and (event := event_of(message)):
                    self.events.append((event.at_s, f"{event.source}: {event.text}"))

    def value(self, device: str, name: str) -> Value | None:
        """The latest good value, or None when there is none or it is old."""
        value, read_s = self.values.get((device, name), (0.0, -math.inf))
        return None if self.now_s - read_s > OLD_AFTER_S else value

    def _hear_readings(self, message: Readings) -> None:
        self.now_s = max(self.now_s, message.read_s)
        qualities = message.qualities or (Quality.GOOD,) * len(message.names)
        for name, value, quality in zip(message.names, message.values, qualities, strict=True):
            if quality is Quality.GOOD:
                self.values[message.device, name] = (value, message.read_s)


async def run(feed: Feed, *, config: HouseConfig, wall: WallClock, hint: str = "") -> None:
    """Draw until cancelled."""
    board = Board()
    console = Console()
    with (
        feed.subscribe("view", Message, bound=WAITING_MESSAGES_MAX) as source,
        Live(console=console, auto_refresh=False, screen=console.is_terminal) as live,
    ):
        while True:
            for message in source.drain():
                board.hear(message)
            if config.grid:
                grid = board.value(config.grid.device, config.grid.register)
                board.grid_powers_w.append(math.nan if grid is None else float(grid))
            live.update(draw(board, config, wall, hint), refresh=True)
            await trio.sleep(REDRAW_S)


def draw(board: Board, config: HouseConfig, wall: WallClock, hint: str = "") -> Group:
    """The whole screen."""
    top = Table.grid(expand=True, padding=(0, 1))
    top.add_column(ratio=1)
    top.add_column(ratio=1)
    top.add_row(
        Panel(_powers(board, config), title=f"{config.site.name}: power"),
        Panel(_lines(board, config), title="lines"),
    )
    top.add_row(
        Panel(_fakemeters(board, config), title="fake meters: what the inverters are told"),
        Panel(_keeping(board), title="log and database"),
    )
    last = "Ctrl-C ends it" + (f"; {hint}" if hint else "")
    return Group(top, Panel(_events(board, wall), title="events"), Text(last, "dim"))


def _power(value: Value | None) -> str:
    return "–" if value is None else f"{float(value):+.0f} W"


def _sum(values: list[Value | None]) -> Value | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) if known else None


def _powers(board: Board, config: HouseConfig) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right", min_width=9)
    table.add_column(style="dim")
    if config.grid:
        grid = board.value(config.grid.device, config.grid.register)
        table.add_row("grid (+ import)", _power(grid), _spark(board.grid_powers_w))
    solar = _sum([board.value(part.device, "pv_power") for part in config.inverter.values()])
    table.add_row("solar", _power(solar), "")
    for name, part in config.inverter.items():
        battery = board.value(part.device, "battery_power")
        charge = board.value(part.device, "bms_battery_soc")
        at = "" if charge is None else f"state of charge {charge:.0f} %"
        table.add_row(f"{name} battery (+ charging)", _power(battery), at)
        if part.meter:
            table.add_row(f"{name} AC port", _power(board.value(part.meter, "active_power")), "")
    for name, charger in config.evse.items():
        meter = charger.meter or charger.device
        decided = board.decided.get(name)
        reason = decided.reason if decided else ""
        table.add_row(f"car at {name}", _power(board.value(meter, "active_power")), reason)
    return table


def _lines(board: Board, config: HouseConfig) -> Table:
    table = Table.grid(padding=(0, 2))
    for title in ("", "busy", "done", "failed", "waiting"):
        table.add_column(title, justify="left" if not title else "right")
    table.add_row("", "[dim]busy", "[dim]done", "[dim]failed", "[dim]waiting")
    for name in config.line:
        change = board.is_up.get(name)
        counted = board.lines.get(name)
        if change is not None and not change.is_up:
            table.add_row(name, "[red]down", "", "", "")
        elif counted is not None:
            table.add_row(
                name,
                f"{counted.utilisation_pct:.0f} %",
                str(counted.transactions),
                str(counted.failures),
                str(counted.waiting),
            )
    return table


def _fakemeters(board: Board, config: HouseConfig) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(5):
        table.add_column(justify="left" if not table.columns else "right")
    table.add_row("", "[dim]queries", "[dim]age", "[dim]answered", "[dim]kept silent")
    for name in config.fakemeter:
        counted = board.fakemeters.get(name)
        if counted is None:
            table.add_row(name, "–", "–", "–", "–")
            continue
        table.add_row(
            name,
            f"{counted.queries_per_s:.1f}/s",
            "–" if math.isnan(counted.age_s) else f"{counted.age_s * 1000:.0f} ms",
            str(counted.answered),
            str(counted.silent_stale),
        )
    decided = board.decided.get("offset")
    if decided is not None:
        table.add_row(Text(decided.reason, "dim"), "", "", "", "")
    return table


def _keeping(board: Board) -> Table:
    table = Table.grid(padding=(0, 2))
    if (log := board.log) is not None:
        per_sample = log.bytes_written / log.samples if log.samples else 0.0
        table.add_row("log", f"{log.blocks} blocks, {log.samples} samples this run")
        size = f"{log.bytes_written / 1000:.1f} kB, {per_sample:.2f} bytes a sample"
        table.add_row("", f"{size}; {log.total_bytes / 1e6:.1f} MB in all")
    if (ship := board.ship) is not None:
        table.add_row("database", f"{ship.rows} rows, {ship.waiting_blocks} blocks to go")
        if ship.cause:
            table.add_row("", Text(ship.cause, "red"))
    return table


def _events(board: Board, wall: WallClock) -> Table:
    table = Table.grid(padding=(0, 2))
    for at_s, text in board.events:
        seconds = wall.utc_ms(at_s) // 1000 % 86400
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        table.add_row(Text(clock, "dim"), Text(text, no_wrap=True, overflow="ellipsis"))
    return table


def _spark(values: deque[float]) -> str:
    """The last values as one line of blocks, from the lowest to the highest of them."""
    known = [value for value in values if not math.isnan(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    step = (high - low) / (len(SPARKS) - 1) or 1.0
    return "".join(
        " " if math.isnan(value) else SPARKS[int((value - low) / step)] for value in values
    )
