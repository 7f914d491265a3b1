"""``grug sim identify-plant``: small steps of offset on the simulated house, and what they tell.

The house runs as in ``grug sim evaluate``. For some minutes it is asked for small offsets, one
after the other, each with its own expiry a moment later; what the meters were told and what the AC
ports did is recorded, and the plant of each inverter is fitted to it. Nothing is written anywhere.
"""

from __future__ import annotations

import sys

import msgspec
import trio

from grug.app import parts
from grug.app.control import House, run_house
from grug.app.writing import open_gate
from grug.config.types import HouseConfig, Seconds
from grug.control.facts import FactsBook
from grug.control.identify import Fit, Seen, fit, margin
from grug.control.plant import Asking
from grug.control.steering import DriveSettings
from grug.demo.evaluate import evaluation_house
from grug.messages import Decided, Readings, SetOffset
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.runtime.supervisor import Part
from grug.sim.actors import SimActors
from grug.sim.answering import true_answer
from grug.sim.line import wire_character_s
from grug.sim.scenarios import SCENARIOS, Scenario
from grug.sim.seeded import run_seeded
from grug.sim.wiring import SimulatedHouse

STEPS_W = (400.0, -400.0, 0.0, -400.0, 400.0, 0.0)
"""The offsets that are asked for, over and over; small enough for any house."""
STEP_S = 8.0
"""Each lasts so long; longer than any inverter takes."""
EXPIRY_S = 1.0
"""So long after a step its wish ends by itself, whatever became of us."""
START_S = 20.0
MINUTES = 4.0
WHO = "identify-plant"
ANSWER_BYTES = 135
"""Of the Acrel's one reply of 65 words."""


def identify(name: str, seed: int, minutes: float) -> int:
    """Print what was found; exit status 1 when nothing can be proposed for some inverter."""
    scenario = next(each for each in SCENARIOS if each.name.replace(" ", "-") == name)
    config = evaluation_house()
    fits = fits_of(config, scenario, seed, minutes)
    truths = truths_of(config, scenario)
    sys.stdout.write(
        f"{'inverter':<12}{'gain/s':>8}{'(true)':>8}{'dead s':>8}{'lag s':>8}"
        f"{'both s':>8}{'(true)':>8}"
        f"{'explained':>11}{'phase left':>12}{'gain left':>11}\n"
    )
    for inverter, found in fits.items():
        sys.stdout.write(_row(inverter, found, truths[inverter]))
    sys.stdout.write("\nfor house.toml:\n")
    for inverter, found in fits.items():
        if not found.problem:
            plant = found.plant
            sys.stdout.write(
                f"[inverter.{inverter}]\ngain = {plant.gain_per_s:.2f}\n"
                f'dead_time = "{plant.dead_s:.2f}s"\nlag = "{plant.lag_s:.2f}s"\n'
            )
    return 1 if any(found.problem for found in fits.values()) else 0


def _row(name: str, found: Fit, truth: tuple[float, float]) -> str:
    if found.problem:
        return f"{name:<12}nothing to propose: {found.problem}\n"
    plant = found.plant
    phase_deg, times = margin(plant, DriveSettings().plain_per_s)
    return (
        f"{name:<12}{plant.gain_per_s:>8.2f}{truth[0]:>8.2f}{plant.dead_s:>8.2f}{plant.lag_s:>8.2f}"
        f"{plant.dead_s + plant.lag_s:>8.2f}{truth[1]:>8.2f}"
        f"{100.0 * found.explained:>9.0f} %{phase_deg:>8.0f} deg{times:>9.1f} x\n"
    )


def truths_of(config: HouseConfig, scenario: Scenario) -> dict[str, tuple[float, float]]:
    """By inverter: gain and delay as they are, of the same way of an answer that is measured."""
    setup = scenario.setup(1.0)
    truths = {}
    for (name, inverter), each in zip(config.inverter.items(), setup.inverters, strict=True):
        line = config.line[config.fakemeter[inverter.fakemeter].line]
        wire_s = ANSWER_BYTES * wire_character_s(line.baudrate, line.framing)
        truths[name] = true_answer(each, setup.step_s, wire_s)
    return truths


def with_plants(config: HouseConfig, fits: dict[str, Fit]) -> HouseConfig:
    """The configuration with what was found in it."""
    inverters = {
        name: msgspec.structs.replace(
            inverter,
            gain=fits[name].plant.gain_per_s,
            dead_time=Seconds(fits[name].plant.dead_s),
            lag=Seconds(fits[name].plant.lag_s),
        )
        if not fits[name].problem
        else inverter
        for name, inverter in config.inverter.items()
    }
    return msgspec.structs.replace(config, inverter=inverters)


def fits_of(
    config: HouseConfig, scenario: Scenario, seed: int, minutes: float = MINUTES
) -> dict[str, Fit]:
    """By inverter: what a few minutes in virtual time tell of it."""
    seen = run_seeded(_simulate, config, scenario, seed, minutes, seed=seed)
    return {name: fit(each) for name, each in seen.items()}


async def _simulate(
    config: HouseConfig, scenario: Scenario, seed: int, minutes: float
) -> dict[str, Seen]:
    house = House(config)
    maps = parts.load_maps(config)
    simulated = SimulatedHouse(config, seed, setup=scenario.setup(minutes / 60.0))
    actors = SimActors(simulated, house.feed)
    sources = [Part("simulated actors", actors.run), Part("simulated house", simulated.run)]
    gate = open_gate(house, maps, actors.buses, wall=WallClock(0.0))
    controllers = parts.controllers(house, maps, gate)
    sources.append(gate.part)
    recording = Recording(house.feed, config, maps)

    async def work() -> None:
        await trio.sleep(START_S)
        await take_steps(house.feed, minutes * 60.0)
        house.stop_asked.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        nursery.start_soon(recording.run)
        await run_house(house, sources=sources, controllers=controllers, data=None)
        nursery.cancel_scope.cancel()
    return recording.seen()


async def take_steps(feed: Feed, seconds: float) -> None:
    """Ask for one small offset after the other; each ends by itself."""
    for step in range(round(seconds / STEP_S)):
        power_w = STEPS_W[step % len(STEPS_W)]
        until_s = trio.current_time() + STEP_S + EXPIRY_S
        feed.publish(SetOffset(power_w, until_s, WHO, "small step to see how inverters answer"))
        await trio.sleep(STEP_S)


class Recording:
    """What every inverter was told and did."""

    def __init__(self, feed: Feed, config: HouseConfig, maps: parts.Maps) -> None:
        settings = parts.offset_settings(config, maps)
        assert settings is not None, "a house that is steered"
        self._names = [inverter.name for inverter in settings.inverters]
        self._book = FactsBook(settings.inverters)
        self._told: dict[str, list[tuple[float, float]]] = {name: [] for name in self._names}
        self._ac: dict[str, list[tuple[float, float]]] = {name: [] for name in self._names}
        self._asking: dict[str, list[Asking]] = {name: [] for name in self._names}
        self._source = feed.subscribe(WHO, Decided, Readings, wanted=self._is_wanted, bound=100_000)

    async def run(self) -> None:
        """Take what comes until cancelled."""
        while True:
            for message in await self._source.receive_batch():
                if isinstance(message, Decided):
                    self._take_told(message)
                elif isinstance(message, Readings):
                    self._book.take(message)
                    self._take_facts()

    def seen(self) -> dict[str, Seen]:
        """Everything that was recorded, by inverter."""
        return {
            name: Seen(tuple(self._told[name]), tuple(self._ac[name]), tuple(self._asking[name]))
            for name in self._names
        }

    def _is_wanted(self, message: object) -> bool:
        if isinstance(message, Readings):
            return message.device in self._book.devices
        return isinstance(message, Decided) and message.controller == "offset"

    def _take_told(self, decided: Decided) -> None:
        values = dict(zip(decided.names, decided.values, strict=True))
        for name in self._names:
            told_w = values[f"served_w/{name}"]
            if told_w == told_w:
                self._told[name].append((decided.decided_s, told_w))

    def _take_facts(self) -> None:
        for name, fact in self._book.facts.items():
            ac = self._ac[name]
            if fact.ac_w is not None and (not ac or fact.ac_s > ac[-1][0]):
                ac.append((fact.ac_s, fact.ac_w))
            asking = self._asking[name]
            if fact.asking is not None and (not asking or fact.asking != asking[-1]):
                asking.append(fact.asking)
