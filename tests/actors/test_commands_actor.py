"""The command socket: an answer to every line, and wishes that reach the feed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio

from grug.actors import commands
from grug.cli.offset import ask_and_print
from grug.control.offset import OffsetSettings, SteeredInverter
from grug.messages import Decided, Readings, RegistersGot, RegistersSet, SetOffset, SetRegisters
from grug.runtime.calls import open_calls
from grug.runtime.feed import Feed

SETTINGS = OffsetSettings("grid", "total_power", (SteeredInverter("solis1", "fake1"),))
WISH = {"command": "offset", "target": "house", "power_w": 500, "for_s": 60, "who": "test"}


async def wait_until_served(path: Path) -> None:
    """The socket is there a moment before it listens."""
    for _ in range(10_000):
        with suppress(OSError):
            await (await trio.open_unix_socket(str(path / commands.SOCKET))).aclose()
            break
        await trio.sleep(0.001)


@asynccontextmanager
async def serving(path: Path, feed: Feed) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: commands.run(feed, socket_path=path / commands.SOCKET, settings=SETTINGS)
        )
        await wait_until_served(path)
        yield
        nursery.cancel_scope.cancel()


async def ask(path: Path, line: str | dict[str, Any]) -> dict[str, Any]:
    stream = await trio.open_unix_socket(str(path / commands.SOCKET))
    async with stream:
        text = line if isinstance(line, str) else json.dumps(line)
        await stream.send_all(text.encode() + b"\n")
        answer: dict[str, Any] = json.loads(await stream.receive_some())
        return answer


async def test_wish_is_published_and_answered_with_its_end(tmp_path: Path) -> None:
    feed = Feed()
    with feed.subscribe("test", SetOffset) as wishes:
        async with serving(tmp_path, feed):
            answer = await ask(tmp_path, WISH | {"power_w": 9000})
            assert answer["accepted"]["for_s"] == 60.0
            assert answer["accepted"]["limited_to_w"] == 6000.0
            (wish,) = wishes.drain()
            assert (wish.power_w, wish.who, wish.target) == (9000.0, "test", "")


async def test_show_tells_wishes_of_every_path_and_the_offset_that_holds(tmp_path: Path) -> None:
    feed = Feed()
    async with serving(tmp_path, feed):
        assert (await ask(tmp_path, {"command": "show"}))["offset_w"] is None
        await ask(tmp_path, WISH)
        feed.publish(SetOffset(70.0, trio.current_time() + 9.0, "mqtt", "", "solis1"))
        names = ("grid_power_w", "offset_w")
        feed.publish(Decided("offset", trio.current_time(), names, (1.0, 570.0), "because"))
        shown = await ask(tmp_path, {"command": "show"})
        assert (shown["offset_w"], shown["reason"]) == (570.0, "because")
        assert [wish["target"] for wish in shown["wishes"]] == ["house", "solis1"]


async def test_a_dry_run_says_what_would_be_accepted_and_publishes_nothing(
    tmp_path: Path, capsys: Any
) -> None:
    feed = Feed()
    with feed.subscribe("test", SetOffset) as wishes:
        async with serving(tmp_path, feed):
            dry = WISH | {"power_w": 9000, "dry_run": True}
            assert await trio.to_thread.run_sync(ask_and_print, dry, tmp_path) == 0
            assert "refused" in await ask(tmp_path, WISH | {"dry_run": "yes"})
        assert wishes.drain() == []
    said = capsys.readouterr().out
    assert said.startswith("would be accepted: house 9000 W until")
    assert "limited to 6000 W" in said


async def test_nonsense_is_refused_and_the_next_line_is_served(tmp_path: Path) -> None:
    async with serving(tmp_path, Feed()):
        for line in (
            "x",
            "[]",
            "[" * 5000,
            '"\\ud800"',
            '{"command": "dance"}',
            "{}",
            '{"command": ["show"]}',
        ):
            assert "refused" in await ask(tmp_path, line)
        assert "accepted" in await ask(tmp_path, WISH)
        assert (tmp_path / commands.SOCKET).stat().st_mode & 0o777 == 0o600


async def test_command_line_says_what_was_accepted_or_refused(tmp_path: Path, capsys: Any) -> None:
    async with serving(tmp_path, Feed()):
        async with trio.open_nursery() as nursery:
            statuses: list[int] = []

            async def send(request: dict[str, Any]) -> None:
                statuses.append(await trio.to_thread.run_sync(ask_and_print, request, tmp_path))

            nursery.start_soon(send, WISH)
        await send(WISH | {"power_w": 1e9})
        await send({"command": "show"})
        assert statuses == [0, 2, 0]
        said = capsys.readouterr()
        assert "accepted: house 500 W until" in said.out
        assert "refused: 1e+09 W is more" in said.err
    assert ask_and_print(WISH, tmp_path) == 1


async def test_registers_are_written_and_read_through_the_gate(tmp_path: Path) -> None:
    writes, write_calls = open_calls()
    values, questions = open_calls()
    asked: list[SetRegisters] = []

    async def write() -> None:
        async for call in write_calls:
            asked.append(call.request)
            call.reply(RegistersSet((), "guarded by a dragon"))

    async def answer() -> None:
        async for call in questions:
            call.reply(RegistersGot((3, None), ""))

    path = tmp_path / commands.SOCKET
    run = partial(commands.run, Feed(), socket_path=path, settings=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        nursery.start_soon(answer)
        nursery.start_soon(partial(run, writes=writes, values=values))
        await wait_until_served(tmp_path)
        wish = {"command": "write", "device": "solis1", "values": {"mode": 3}, "who": "me"}
        assert "why" in (await ask(tmp_path, wish))["refused"]
        answered = await ask(tmp_path, wish | {"why": "test"})
        assert answered == {"records": [], "refused": "guarded by a dragon"}
        assert asked[0].values == (("mode", 3),)
        question = {"command": "read", "device": "solis1", "registers": ["a", "b"], "who": "me"}
        assert await ask(tmp_path, question) == {"values": {"a": 3, "b": None}}
        assert "commands are" in (await ask(tmp_path, {"command": "show"}))["refused"]
        nursery.cancel_scope.cancel()


async def test_text_that_cannot_be_passed_on_reaches_nobody(tmp_path: Path) -> None:
    feed = Feed()
    with feed.subscribe("test", SetOffset) as wishes:
        async with serving(tmp_path, feed):
            half_a_character = json.dumps(WISH | {"why": "\ud800"})
            assert "refused" in await ask(tmp_path, half_a_character)
            assert wishes.drain() == []


async def test_powers_are_those_of_this_moment_with_the_wishes_that_hold(tmp_path: Path) -> None:
    feed = Feed()
    async with serving(tmp_path, feed):
        await ask(tmp_path, WISH)
        for power_w in (100.0, 120.0):
            feed.publish(Readings("grid", trio.current_time(), ("total_power",), (power_w,)))
        powers = (await ask(tmp_path, {"command": "powers"}))["powers"]
        assert powers["grid_w"] == 120.0
        assert [each["name"] for each in powers["inverters"]] == ["solis1"]
        assert [(each["who"], each["power_w"]) for each in powers["wishes"]] == [("test", 500.0)]
        answer = await ask(tmp_path, {"command": "powers", "target": "solis1"})
        assert "powers" in answer["refused"]
