"""``grug sim evaluate``: the simulated house, steered in several ways, on days that stay the same.

Each run is the app's own controllers on simulated actors (message fidelity), in virtual time, or a
baseline in their place. Same scenario and seed: same sun, same kettles, same order of tasks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import msgspec
import trio

from grug.app import parts
from grug.app.control import House, run_house
from grug.app.load import load_house
from grug.app.writing import open_gate
from grug.codec.registers import Storage
from grug.config.types import DeviceConfig, HouseConfig, LineConfig, PollConfig, Seconds
from grug.demo.settings import example_house, measured
from grug.messages import FakeMeterCounted, Message, MeterImage, Readings, WriteDone
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.runtime.supervisor import Part
from grug.sim import baselines
from grug.sim.actors import SimActors
from grug.sim.evaluate import SAMPLE_S, Score, Scorer, mean_score
from grug.sim.scenarios import SCENARIOS, Scenario
from grug.sim.seeded import run_seeded, sleep_until
from grug.sim.wiring import SimulatedHouse

NEEDED = {
    "total_power",
    "pv_power",
    "active_power",
    "battery_power",
    "bms_battery_soc",
    "bms_battery_voltage",
    "bms_battery_charge_current_limit",
    "bms_battery_discharge_current_limit",
}
"""Registers that steering looks at; the example's others are left out, for speed."""
LAWS = ("none", "seed", "grug")
START_S = 60.0
"""The first minute, in which everybody gets to know the house, does not count."""
SECOND = "utility"
"""The second meter at the house's connection, read once a second."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run to make."""

    scenario: Scenario
    law: str
    seed: int
    hours: float


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario under one law: the mean over the seeds."""

    scenario: str
    law: str
    score: Score


def evaluate(
    names: Sequence[str], laws: Sequence[str], seeds: Sequence[int], hours: float, *, as_json: bool
) -> int:
    """Make all runs and print the table; exit status 1 when anything stale was served."""
    started_s = time.perf_counter()
    config = evaluation_house()
    rows = []
    for scenario in SCENARIOS:
        if names and scenario.name.replace(" ", "-") not in names:
            continue
        for law in laws:
            scores = [score_of(config, Run(scenario, law, seed, hours)) for seed in seeds]
            rows.append(Row(scenario.name, law, mean_score(scores)))
            if not as_json:
                sys.stdout.write(("" if len(rows) > 1 else HEADER) + row_text(rows[-1]))
                sys.stdout.flush()
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(rows)).decode() + "\n")
    elapsed_s = time.perf_counter() - started_s
    times = len(rows) * len(seeds) * hours * 3600 / elapsed_s
    sys.stderr.write(f"{elapsed_s:.1f} s, {times:.0f} times real time\n")
    return 1 if any(row.score.stale for row in rows) else 0


def evaluation_house() -> HouseConfig:
    """The example house without its charger, with a second meter, polling what steering needs."""
    config = measured(load_house(example_house()).house)
    devices = {
        name: msgspec.structs.replace(device, poll=tuple(_needed(device)))
        for name, device in config.device.items()
        if device.line != "evse"
    }
    second = PollConfig(every=Seconds(1.0), registers=("total_power",))
    devices[SECOND] = DeviceConfig(line=SECOND, unit=1, map="eastron_sdm630", poll=(second,))
    lines = {name: line for name, line in config.line.items() if name != "evse"}
    lines[SECOND] = LineConfig(port="/dev/null/utility")
    assert config.grid is not None, "the example has a grid meter"
    grid = msgspec.structs.replace(config.grid, second=f"{SECOND}/total_power")
    return msgspec.structs.replace(config, line=lines, device=devices, grid=grid, evse={})


def _needed(device: DeviceConfig) -> list[PollConfig]:
    polls = []
    for poll in device.poll:
        names = tuple(name for name in poll.registers if name in NEEDED)
        # The battery's limits are polled slowly in the example, and that is enough.
        if names:
            polls.append(msgspec.structs.replace(poll, registers=names))
    return polls


def score_of(config: HouseConfig, run: Run) -> Score:
    """One run in virtual time."""
    return run_seeded(_simulate, config, run, seed=run.seed)


async def _simulate(config: HouseConfig, run: Run) -> Score:
    house = House(config)
    maps = parts.load_maps(config)
    simulated = SimulatedHouse(config, run.seed, setup=run.scenario.setup(run.hours))
    for fault in run.scenario.fault_texts(run.hours):
        simulated.apply(fault)
    actors = SimActors(simulated, house.feed)
    gate = open_gate(house, maps, actors.buses, wall=WallClock(0.0))
    controllers = parts.controllers(house, maps, gate)
    sources = [Part("simulated actors", actors.run), Part("simulated house", simulated.run)]
    sources.append(gate.part)
    if run.law in ("none", "seed"):
        law = baselines.NoControl() if run.law == "none" else baselines.SeedLaw()
        controllers = []
        sources.append(Part("baseline", partial(baselines.run, house.feed, config=config, law=law)))
    witness = Witness(house.feed, config, maps_storage(config, maps))
    load = run.scenario.load
    scorer = Scorer(load.step_w, load.step_every_s)

    async def look() -> None:
        await _look(simulated, scorer, run)
        house.stop_asked.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        nursery.start_soon(witness.run)
        await run_house(house, sources=sources, controllers=controllers, data=None)
        nursery.cancel_scope.cancel()
    witness.count()
    return scorer.score(witness.stale, witness.eeprom)


async def _look(simulated: SimulatedHouse, scorer: Scorer, run: Run) -> None:
    """Score every step of the physics, and let the scenario's inverter go off half way."""
    house = simulated.house
    start_s = trio.current_time()
    length_s = run.hours * 3600.0
    names = [inverter.setup.name for inverter in house.inverters]
    steps = round(length_s / SAMPLE_S)
    for step in range(1, steps + 1):
        # Between two instants of the physics, so that looking changes nothing.
        await sleep_until(start_s + (step + 0.5) * SAMPLE_S)
        if run.scenario.lost and step * 2 == steps:
            house.inverters[names.index(run.scenario.lost)].is_on = False
        if step * SAMPLE_S > START_S:
            scorer.look(house)


def maps_storage(config: HouseConfig, maps: parts.Maps) -> dict[tuple[str, int, int], Storage]:
    """Where each writable register is kept, by line, unit and address."""
    return {
        (device.line, device.unit, register.address): register.storage
        for device in config.device.values()
        for register in maps[device.map].registers.values()
    }


class Witness:
    """Checks what was served against what was read, independently of whoever served it."""

    def __init__(
        self, feed: Feed, config: HouseConfig, storage: dict[tuple[str, int, int], Storage]
    ) -> None:
        assert config.grid is not None, "a house that is steered has a grid meter"
        self.stale = 0
        self.eeprom = 0
        self._storage = storage
        self._meters = {config.grid.device, config.grid.second_series[0]}
        self._ages_s = {name: meter.max_age for name, meter in config.fakemeter.items()}
        self._read_s: set[float] = set()
        kinds = (Readings, MeterImage, FakeMeterCounted, WriteDone)
        self._source = feed.subscribe("witness", *kinds, wanted=self._is_wanted, bound=100_000)

    async def run(self) -> None:
        """Count now and then until cancelled."""
        while True:
            await trio.sleep(60.0)
            self.count()

    def count(self) -> None:
        """Look at everything that was published since."""
        newest_s = max(self._read_s, default=0.0)
        self._read_s = {read_s for read_s in self._read_s if read_s > newest_s - 10.0}
        for message in self._source.drain():
            match message:
                case Readings():
                    self._read_s.add(message.read_s)
                case MeterImage():
                    age_s = self._ages_s[message.fakemeter]
                    is_true = message.read_s in self._read_s
                    is_true &= message.valid_until_s <= message.read_s + age_s
                    self.stale += not is_true
                case FakeMeterCounted():
                    # NaN, before the first answer, compares as false.
                    self.stale += message.age_s > self._ages_s[message.fakemeter]
                case WriteDone():
                    request = message.request
                    key = (message.line, request.unit_id, request.address)
                    self.eeprom += self._storage.get(key) is not Storage.RAM

    def _is_wanted(self, message: Message) -> bool:
        return not isinstance(message, Readings) or message.device in self._meters


COLUMNS = (
    ("grid W", 8, ".1f"),
    ("imp Wh/h", 9, ".1f"),
    ("exp Wh/h", 9, ".1f"),
    ("settle s", 9, ".1f"),
    ("over W", 8, ".0f"),
    ("osc W/min", 10, ".0f"),
    ("circ Wh/h", 10, ".1f"),
    ("stale", 6, ".0f"),
    ("eeprom", 7, ".0f"),
)
HEADER = (
    f"{'scenario':<15}{'law':<7}"
    + "".join(f"{title:>{width}}" for title, width, _ in COLUMNS)
    + "\n"
)


def row_text(row: Row) -> str:
    """One line of the table."""
    values = asdict(row.score).values()
    cells = (
        f"{value:>{width}{style}}" for value, (_, width, style) in zip(values, COLUMNS, strict=True)
    )
    return f"{row.scenario:<15}{row.law:<7}{''.join(cells)}\n"
