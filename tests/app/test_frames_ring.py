"""A whole house keeps what was on its wires, and its log agrees with it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from grug.demo.fast import simulate
from grug.demo.settings import DemoSettings
from grug.model import Role
from grug.protocol.seen import Seen, SeenKind
from grug.sim.seeded import run_seeded
from grug.storage.show import TimeRange
from grug.transport.capture import read_seen


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two minutes of the demo at noon; a unit is silent for five seconds of them."""
    faults = ("solis1:silent@60+5",)
    settings = DemoSettings(1, 12.0, 2 / 60, 0.0, faults, "wire", tmp_path)
    run_seeded(simulate, settings, seed=1)
    return tmp_path / "fast"


def seen_in(state: Path) -> list[Seen]:
    return list(read_seen(state / "frames", TimeRange(), lambda line: True))


@pytest.mark.slow
def test_ring_has_each_exchange_of_each_line(state: Path) -> None:
    seen = seen_in(state)
    kinds = Counter((each.wire.line, each.kind) for each in seen)
    lines = {each.wire.line for each in seen}
    assert lines == {"grid", "solis1", "solis1_meter", "solis2", "solis2_meter", "evse"}
    assert {each.wire.line for each in seen if each.wire.role is Role.SERVER} == {
        "solis1_meter",
        "solis2_meter",
    }
    for line in lines - {"solis1"}:
        asked, answered = kinds[line, SeenKind.REQUEST], kinds[line, SeenKind.REPLY]
        assert asked > 100
        assert asked - answered <= 2 + kinds[line, SeenKind.SILENCE]
    silences = [each.time_us for each in seen if each.kind is SeenKind.SILENCE]
    start_us = seen[0].time_us
    in_time = [at for at in silences if 59 < (at - start_us) / 1e6 < 80]
    assert len(in_time) >= 2
