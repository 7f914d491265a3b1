"""``grug identify-plant`` over the command socket of a simulated house, in virtual time."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from grug.actors import commands
from grug.app import parts
from grug.app.control import House, run_house
from grug.app.writing import open_gate
from grug.cli.identify import INTERRUPTED, take_trial, until_signal
from grug.config.types import HouseConfig
from grug.control.identify import fit
from grug.control.trial import Record, TrialSettings
from grug.demo.evaluate import evaluation_house
from grug.messages import SetOffset
from grug.runtime.clock import WallClock
from grug.runtime.supervisor import Part
from grug.sim.actors import SimActors
from grug.sim.scenarios import SCENARIOS
from grug.sim.seeded import run_seeded
from grug.sim.wiring import SimulatedHouse
from grug.transport.desk import ask_desk

START_S = 20.0
STEP_S = 0.05
"""Of the physics: the usual 0.2 s would blur dead times of 0.4 s."""
WIRE_S = 0.07
"""Half of what an answer of 65 words takes at 9600 baud: it is heard at its end."""
ME = "identify-plant/test/1"
SETTINGS = TrialSettings((), wait_s_max=3600.0)

Work = Callable[["Running"], Any]


class Running:
    """A house that runs, as a program asks it."""

    def __init__(self, socket: Path, house: House, simulated: SimulatedHouse) -> None:
        self.socket = socket
        self.house = house
        self.simulated = simulated

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        line = json.dumps(request).encode()
        answer: dict[str, Any] = json.loads(await ask_desk(self.socket, line, answer_s_max=5.0))
        return answer

    async def offset_w(self) -> float:
        offset_w = (await self.ask({"command": "show"}))["offset_w"]
        assert isinstance(offset_w, float)
        return offset_w

    async def wishes(self) -> list[dict[str, Any]]:
        wishes: list[dict[str, Any]] = (await self.ask({"command": "show"}))["wishes"]
        return wishes

    async def trial(self, settings: TrialSettings = SETTINGS) -> tuple[Record, str]:
        return await take_trial(self.ask, settings, ME, lambda _: None)


def unmeasured_house() -> HouseConfig:
    """The house as it is when somebody measures it for the first time."""
    config = evaluation_house()
    inverters = {
        name: msgspec.structs.replace(inverter, gain=None, dead_time=None, lag=None)
        for name, inverter in config.inverter.items()
    }
    return msgspec.structs.replace(config, inverter=inverters)


async def _run(directory: Path, work: Work, scenario_name: str, config: HouseConfig) -> Any:
    scenario = next(each for each in SCENARIOS if each.name == scenario_name)
    house, maps = House(config), parts.load_maps(config)
    setup = dataclasses.replace(scenario.setup(2.0), step_s=STEP_S)
    simulated = SimulatedHouse(config, 3, setup=setup)
    actors = SimActors(simulated, house.feed)
    gate = open_gate(house, maps, actors.buses, wall=WallClock(0.0))
    socket = directory / commands.SOCKET
    settings = parts.offset_settings(config, maps)
    desk = partial(commands.run, house.feed, socket_path=socket, settings=settings)
    sources = [Part("actors", actors.run), Part("house", simulated.run), Part("desk", desk)]
    found: list[Any] = []

    async def do() -> None:
        await trio.sleep(START_S)
        # The desk makes its directory in a thread, which virtual time does not wait for.
        running = Running(socket, house, simulated)
        for _ in range(10_000):
            with suppress(OSError):
                await running.wishes()
                break
            await trio.sleep(0.1)
        found.append(await work(running))
        house.stop_asked.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(do)
        await run_house(
            house,
            sources=[*sources, gate.part],
            controllers=parts.controllers(house, maps, gate),
            data=None,
        )
        nursery.cancel_scope.cancel()
    return found[0]


def run(
    directory: Path, work: Work, scenario: str = "clear", config: HouseConfig | None = None
) -> Any:
    return run_seeded(_run, directory, work, scenario, config or evaluation_house(), seed=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "config"), [("clear", unmeasured_house()), ("dead times", evaluation_house())]
)
def test_it_finds_what_the_simulated_inverters_have(
    tmp_path: Path, scenario: str, config: HouseConfig
) -> None:
    async def work(running: Running) -> None:
        record, problem = await running.trial()
        assert not problem
        assert await running.wishes() == []
        setups = running.simulated.house.inverters
        for name, inverter in zip(record.inverters(()), setups, strict=True):
            found, true = fit(record.seen(name)), inverter.setup
            assert not found.problem
            assert found.plant.gain_per_s == pytest.approx(true.gain_per_s, rel=0.15)
            assert found.plant.dead_s == pytest.approx(true.dead_time_s + WIRE_S, abs=0.2)
            delay_s = found.plant.dead_s + found.plant.lag_s
            assert delay_s == pytest.approx(true.dead_time_s + true.lag_s + WIRE_S, abs=0.2)
            assert 300.0 < found.slew_w_per_s < 4000.0

    run(tmp_path, work, scenario, config)


@pytest.mark.slow
def test_ctrl_c_in_the_middle_leaves_no_offset_behind(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        async def press_ctrl_c() -> None:
            for _ in range(200):
                if await running.wishes():
                    break
                await trio.sleep(0.5)
            await trio.sleep(2.0)
            assert await running.offset_w() == 400.0
            signal.raise_signal(signal.SIGINT)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(press_ctrl_c)
            _, problem = await until_signal(running.ask, SETTINGS, ME)
        assert problem == INTERRUPTED
        assert await running.wishes() == []
        await trio.sleep(1.0)
        assert await running.offset_w() == 0.0

    run(tmp_path, work)


@pytest.mark.slow
def test_who_is_killed_in_the_middle_leaves_an_offset_for_seconds_only(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        class KilledError(Exception):
            pass

        async def ask(request: dict[str, Any]) -> dict[str, Any]:
            if await running.offset_w():
                raise KilledError
            return await running.ask(request)

        with pytest.raises(KilledError):
            await take_trial(ask, SETTINGS, ME, lambda _: None)
        assert [wish["who"] for wish in await running.wishes()] == [ME]
        await trio.sleep(SETTINGS.step_s + SETTINGS.expiry_s + 1.0)
        assert (await running.wishes(), await running.offset_w()) == ([], 0.0)

    run(tmp_path, work)


@pytest.mark.slow
def test_it_asks_for_nothing_while_another_wish_holds(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        wish = SetOffset(300.0, trio.current_time() + 60.0, "cli/eve", "cheap hour")
        running.house.feed.publish(wish)
        began_s = trio.current_time()
        _, problem = await running.trial()
        assert problem == "a wish of cli/eve (cheap hour) for the house holds"
        assert trio.current_time() - began_s < 1.0
        assert [each["who"] for each in await running.wishes()] == ["cli/eve"]

    run(tmp_path, work)


@pytest.mark.slow
def test_a_wish_of_somebody_else_ends_it_and_stays(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        async def eve() -> None:
            await trio.sleep(40.0)
            wish = SetOffset(300.0, trio.current_time() + 60.0, "cli/eve", "cheap hour")
            running.house.feed.publish(wish)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(eve)
            _, problem = await running.trial()
        assert "cli/eve" in problem
        assert [each["who"] for each in await running.wishes()] == ["cli/eve"]

    run(tmp_path, work)


@pytest.mark.slow
def test_unknown_inverter_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    async def work(running: Running) -> None:
        _, problem = await running.trial(TrialSettings(("solis3",)))
        assert problem == "there is no inverter 'solis3'; there are solis1, solis2"

    run(tmp_path, work)
