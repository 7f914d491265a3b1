"""The data process of a house lets others fetch its log while it records."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from grug.actors import puller
from grug.app import data
from grug.app.data import DataSettings
from grug.config.types import HouseConfig, LogConfig, Seconds, SiteConfig
from grug.errors import LinkError
from grug.messages import Readings
from grug.transport.http import get
from grug.transport.link import Link

TOKEN = "a secret of the house"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def house(state: Path, port: int) -> HouseConfig:
    log = LogConfig(block=Seconds(0.05), reserve_bytes=0, serve=f"127.0.0.1:{port}", token=TOKEN)
    return HouseConfig(line={}, device={}, site=SiteConfig(state=str(state)), log=log)


async def wait_for_log(url: str) -> puller.About:
    """Ask until the server is there and has a block."""
    with trio.fail_after(10):
        while True:
            try:
                about = await puller.ask_about(url, TOKEN)
                if about.seq > 0:
                    return about
            except LinkError:
                pass
            await trio.sleep(0.02)


@pytest.mark.parametrize("is_taken", [False, True])
async def test_log_is_served_while_the_house_runs(
    tmp_path: Path, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "SERVE_AGAIN_S", 0.05)
    port = free_port()
    taken = socket.create_server(("127.0.0.1", port)) if is_taken else None
    near, far = socket.socketpair()
    link = Link(near)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(data.run, DataSettings(house(tmp_path, port)), Link(far))
        await link.send([Readings("grid", trio.current_time(), ("power",), (17,))])
        if taken is not None:
            await trio.sleep(0.1)
            taken.close()
        about = await wait_for_log(f"http://127.0.0.1:{port}")
        stream, reply = await get(f"http://127.0.0.1:{port}", "/log", TOKEN)
        async with stream:
            body = reply.body or await stream.receive_some()
        assert body.startswith(b"GRUGLOG1")
        assert bytes.fromhex(about.log) in body[:64]
        await link.finish()
    await link.aclose()
