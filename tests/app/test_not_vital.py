"""A house is steered on without whatever only asks, shows or records."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import trio

from grug.app import parts
from grug.app.control import DataSide, House, run_house
from grug.app.writing import open_gate
from grug.config.types import HouseConfig, SiteConfig
from grug.messages import ActorFailed
from grug.runtime.supervisor import FAILURES_MAX, run_parts
from grug.transport.process import DataProcess


def house_in(state: Path) -> House:
    return House(HouseConfig(line={}, device={}, site=SiteConfig(state=str(state))))


async def test_house_runs_on_without_its_command_socket(
    autojump_clock: object, tmp_path: Path
) -> None:
    no_directory = tmp_path / "file"
    no_directory.touch()
    house = house_in(no_directory)
    desk = parts.desk(house, {}, open_gate(house, {}, {}))
    with house.feed.subscribe("test", ActorFailed) as failed:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_parts, desk, house.feed)
            crashes = 0
            while crashes <= FAILURES_MAX:
                crashes += len(await failed.receive_batch())
            nursery.cancel_scope.cancel()


async def test_house_runs_on_without_a_data_process_and_stops_when_asked(
    autojump_clock: object, tmp_path: Path
) -> None:
    def start() -> DataProcess:
        raise OSError("no memory")

    house = house_in(tmp_path)
    run = partial(run_house, house, sources=[], controllers=[], data=DataSide(start))
    with trio.fail_after(3700):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(3600)
            house.stop_asked.set()
