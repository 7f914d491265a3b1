"""Frames for people: in words, and as a capture that Wireshark understands by itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grug.model import Role, Wire, WireFraming, WireKind, WireRecord
from grug.protocol.rtu import with_crc
from grug.storage.frames import encode_wire
from grug.storage.segment import FrameKind, SeriesTable, encode_frame, encode_series
from grug.transport.logwriter import Limits, LogWriter

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
T0_MS = 1_700_000_000_000
WIRES = (
    Wire("solis", Role.CLIENT, WireFraming.RTU),
    Wire("meter", Role.SERVER, WireFraming.RTU),
    Wire("gate", Role.CLIENT, WireFraming.MBAP),
)
SENT, RECEIVED, SILENCE = WireKind.SENT, WireKind.RECEIVED, WireKind.SILENCE

READ = with_crc(bytes((1, 4, 0, 52, 0, 2)))
READ_REPLY = with_crc(bytes((1, 4, 4, 0x44, 0x9A, 0x51, 0xEC)))
WRITE = with_crc(bytes((1, 6, 0, 5, 0, 9)))
REFUSAL = with_crc(bytes((1, 0x84, 2)))
TCP_READ = bytes((0, 7, 0, 0, 0, 6)) + READ[:-2]
TCP_REPLY = bytes((0, 7, 0, 0, 0, 7)) + READ_REPLY[:-2]

STEPS: list[tuple[int, WireKind, bytes]] = [
    (0, SENT, READ),
    (0, RECEIVED, READ_REPLY[:4]),
    (0, RECEIVED, READ_REPLY[4:]),
    (1, RECEIVED, READ),
    (1, SENT, READ_REPLY),
    (0, SENT, WRITE),
    (0, RECEIVED, WRITE),
    (0, SENT, READ),
    (0, SILENCE, b""),
    (0, SENT, READ),
    (0, RECEIVED, REFUSAL),
    (2, SENT, TCP_READ),
    (2, RECEIVED, TCP_REPLY),
    (0, SENT, READ),
    (0, RECEIVED, READ_REPLY[:-1] + b"\x00"),
    (0, SILENCE, b""),
]
STEP_US = 10_000


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a log and a ring of frames."""
    (tmp_path / "log").mkdir()
    writer = LogWriter(tmp_path / "frames", Limits(1 << 30, 1 << 50, 0), is_durable=False)
    records = [
        WireRecord(wire, kind, index * STEP_US, data)
        for index, (wire, kind, data) in enumerate(STEPS)
    ]
    names = tuple(wire.name for wire in WIRES)
    common = {"t_min_ms": T0_MS, "t_max_ms": T0_MS + 1000, "monotonic_ms": 0}
    writer.append(
        lambda seq: [
            encode_frame(FrameKind.WIRE, encode_wire(records), seq=seq, count=1, **common)
        ],
        lambda seq: encode_frame(
            FrameKind.SERIES, encode_series(SeriesTable(0, "", names)), seq=seq, count=3, **common
        ),
        now_ms=T0_MS,
    )
    writer.close()
    (tmp_path / "log" / "0000000000000001.grug").write_bytes(b"")
    return tmp_path


def grug(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grug", "log", *arguments], capture_output=True, text=True
    )


def dissected(capture: Path, *fields: str, only: str = "") -> list[list[str]]:
    """What a Wireshark without any preferences of a user makes of a capture."""
    command = ["tshark", "-r", str(capture), "-T", "fields"]
    command += ["-Y", only] if only else []
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_frames_are_shown_in_words(state: Path) -> None:
    done = grug("frames", "--state", str(state))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("2023-11-14T22:13:20.000000Z  solis ")
    assert lines[0].endswith("-> unit 1 read input registers 52, 2 of them")
    assert lines[1].endswith("<- unit 1 = 449a 51ec")
    assert lines[1].startswith("2023-11-14T22:13:20.020000Z")
    assert any(".. no reply within 0.010 s" in line for line in lines)
    assert any("exception 2 (illegal data address)" in line for line in lines)
    assert "no whole reply to the request" in lines[-2]


def test_frames_of_one_line_and_the_last_of_them(state: Path) -> None:
    assert len(grug("frames", "--state", str(state), "me*").stdout.splitlines()) == 2
    assert len(grug("frames", "--state", str(state), "-n", "3").stdout.splitlines()) == 3


def test_no_frames_is_said(state: Path) -> None:
    shutil.rmtree(state / "frames")
    done = grug("frames", "--state", str(state))
    assert done.returncode == 1
    assert "frames = false" in done.stderr


@needs_tshark
@pytest.mark.slow
def test_wireshark_pairs_requests_and_replies_on_every_line(state: Path) -> None:
    capture = state / "day.pcapng"
    done = grug("export", "--pcap", str(capture), "--state", str(state))
    assert done.returncode == 0, done.stderr
    fields = ("frame.number", "frame.interface_name", "modbus.func_code", "modbus.request_frame")
    rows = dissected(capture, *fields, only="modbus")
    assert [row[1:] for row in rows] == [
        ["solis", "4", ""],
        ["solis", "4", "1"],
        ["meter", "4", ""],
        ["meter", "4", "3"],
        ["solis", "6", ""],
        ["solis", "6", "5"],
        ["solis", "4", ""],
        ["solis", "4", ""],
        ["solis", "4", ""],  # Its dissector pairs no exceptions.
        ["gate", "4", ""],
        ["gate", "4", "11"],
        ["solis", "4", ""],
        ["solis", "4", ""],
    ]
    info = [row[0] for row in dissected(capture, "_ws.col.Info")]
    assert not any("Unable to classify" in text for text in info)
    assert "no reply within 0.010 s" in info
    ((exception,),) = dissected(capture, "modbus.exception_code", only="modbus.exception_code")
    assert exception == "2"
    values = dissected(capture, "modbus.regnum16", "modbus.regval_uint16", only="frame.number == 2")
    assert values == [["52,53", "17562,20972"]]
    times = dissected(capture, "frame.time_epoch", "modbus.response_time", only="frame.number == 2")
    assert times == [["1700000000.020000000", "0.020000000"]]
    (damaged,) = dissected(capture, "frame.comment", "mbrtu.crc16", only="mbrtu")
    assert damaged[0] == "no whole reply to the request"
    directions = dissected(capture, "frame.packet_flags_direction", only="frame.number <= 4")
    assert [row[0][-1] for row in directions] == ["2", "1", "1", "2"]
