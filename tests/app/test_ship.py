"""``grug ship`` against a house whose log is wiped while it is followed."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import trio
from log_writing import TestLog

from grug.actors import logserver, puller, shipper
from grug.app import ship
from grug.errors import LinkError
from grug.transport.asking import embedded_url
from grug.transport.clickhouse import Database
from grug.transport.logfiles import Synced

pytestmark = pytest.mark.slow
TOKEN = "t" * 20


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ship, "RETRY_S", 0.05)
    monkeypatch.setattr(puller, "RETRY_S_MIN", 0.02)
    monkeypatch.setattr(shipper, "REST_S", 0.05)
    monkeypatch.setattr(shipper, "BACKOFF_S_MIN", 0.05)


async def hear(capsys: pytest.CaptureFixture[str], words: str) -> None:
    said = ""
    with trio.fail_after(20):
        while words not in said:
            await trio.sleep(0.02)
            said += capsys.readouterr().err


async def test_a_log_that_is_wiped_while_followed_gives_way_to_the_new_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new log has the epoch and the numbers of the old one; nothing of either is lost."""
    to = embedded_url(tmp_path)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    async with trio.open_nursery() as shipping:
        for number, blocks in enumerate((12, 40)):
            directory, synced = tmp_path / "log", Synced()
            with TestLog(directory) as log:
                synced.mark(log.write(blocks, first_s=number * 1000))
                async with trio.open_nursery() as house:
                    house.start_soon(
                        partial(
                            logserver.run,
                            log_directory=directory,
                            synced=synced,
                            listeners=listeners,
                            token=TOKEN,
                        )
                    )
                    if number == 0:
                        shipping.start_soon(partial(ship.ship_from, url, TOKEN, to, once=False))
                    await hear(capsys, "caught up")
                    synced.mark(log.write(3))
                    await trio.sleep(1.0)
                    house.cancel_scope.cancel()
            shutil.rmtree(directory)
            if number == 0:
                listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        shipping.cancel_scope.cancel()
    database = Database(to)
    try:
        rows = database.query("SELECT count() FROM readings GROUP BY log ORDER BY min(ts)").rows
        assert rows == [(15 * 20,), (43 * 20,)]
        assert database.query("SELECT sum(n) FROM agg_1h").rows == [(58 * 20,)]
    finally:
        database.close()


async def test_a_server_that_is_away_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LinkError):
        await ship.ship_from("http://127.0.0.1:9", TOKEN, embedded_url(tmp_path), once=False)
