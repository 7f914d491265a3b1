"""Sessions for tests of the replay: short demos in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from grug.config.types import HouseConfig
from grug.demo import fast
from grug.demo.settings import DemoSettings, demo_house
from grug.sim.seeded import run_seeded
from grug.storage.segment import SEGMENT_HEADER_BYTES, FrameKind, scan_frames

FAULTS = ("grid:silent@60+4", "solis1:silent@90+30")


def record(
    state: Path,
    *,
    fidelity: str = "message",
    hours: float = 0.05,
    offset_w: float = 300.0,
    change: Callable[[HouseConfig], HouseConfig] = lambda house: house,
) -> Path:
    """Record the example house, with a lost meter and a lost inverter; gives the state."""
    settings = DemoSettings(
        start_hour=11.0,
        hours=hours,
        offset_w=offset_w,
        faults=FAULTS,
        fidelity=fidelity,
        state=state,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "demo_house", lambda *given: change(demo_house(*given)))
        run_seeded(fast.simulate, settings, seed=1)
    return state / "fast"


def segment_of(state: Path) -> Path:
    """The one segment of a short session."""
    (path,) = (state / "log").glob("*.grug")
    return path


def without_samples(path: Path, number: int) -> bytes:
    """A segment's bytes without one of its frames of samples, counted from 0."""
    data = path.read_bytes()
    offset, seq, seen = SEGMENT_HEADER_BYTES, -1, 0
    while True:
        scan = scan_frames(data, seq_after=seq, offset=offset, frames_max=1)
        (frame,) = scan.frames
        if frame.kind == FrameKind.SAMPLES:
            if seen == number:
                return data[:offset] + data[scan.end :]
            seen += 1
        offset, seq = scan.end, frame.seq
