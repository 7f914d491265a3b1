"""The series table: units, decimals and the house's name, and tables from before there were any."""

from __future__ import annotations

from pathlib import Path

from log_writing import NO_LIMITS, T0

from grug.app.about import about_series
from grug.app.load import load_house
from grug.app.parts import load_maps
from grug.demo.settings import example_house
from grug.messages import Decided, FakeMeterCounted, Readings
from grug.storage.collect import Collector
from grug.storage.segment import (
    FRAME_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    FrameKind,
    SeriesFacts,
    SeriesTable,
    decode_series,
    scan_frames,
)
from grug.storage.series import About
from grug.transport.logfiles import LogReader
from grug.transport.logwriter import LogWriter

ABOUT = About("cave", {"grid/power": SeriesFacts("W", 1), "grid/soc": SeriesFacts("%", 0)})


def test_unit_and_decimals_of_each_series_are_in_the_log() -> None:
    collector = Collector(about=ABOUT)
    collector.add(Readings("grid", 0.0, ("power", "soc", "odd"), (1.5, 50, 3)), T0)
    collector.add(Decided("offset", 0.0, ("power_w",), (0.0,), "why"), T0)
    collector.add(FakeMeterCounted("m", 0.0, 1.0, 1, 0, 0, 0, 0.1), T0)
    (table, *_) = scan_frames(
        b"".join(collector.cut(1, boot_id="b")), seq_after=-1, offset=0
    ).frames
    said = decode_series(table.unpack())
    facts = {name: said.facts(index) for index, name in enumerate(said.series)}
    assert said.site == "cave"
    assert facts["grid/power"] == ("W", 1)
    assert facts["grid/soc"] == ("%", 0)
    assert facts["grid/odd"] == ("", -1)
    assert facts["offset/power_w"] == ("W", 0)
    assert facts["fakemeter/m/age_s"] == ("s", 3)
    assert facts["fakemeter/m/queries_per_s"] == ("1/s", 1)


def test_table_without_units_is_read() -> None:
    old = b'{"first":3,"boot_id":"b","series":["a","b"]}'
    table = decode_series(old)
    assert table == SeriesTable(3, "b", ("a", "b"))
    assert table.facts(1) == SeriesFacts("", -1)
    assert table.site == ""


def test_every_block_says_whose_it_is(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, NO_LIMITS, is_durable=False)
    collector = Collector(about=ABOUT)
    for second in (0, 7200):
        collector.add(Readings("grid", second, ("power",), (second,)), T0 + second * 1000)
        writer.append(
            lambda seq: collector.cut(seq, boot_id="b"),
            lambda seq: collector.table_frame(seq, boot_id="b", time_ms=T0),
            now_ms=T0 + second * 1000,
        )
    writer.close()
    blocks = LogReader(tmp_path).read()
    assert {block.site for block in blocks if block.frame.kind == FrameKind.SAMPLES} == {"cave"}
    assert len({block.header.first_seq for block in blocks}) == 2


def test_the_example_house_knows_its_units() -> None:
    config = load_house(example_house()).house
    about = about_series(config, load_maps(config))
    assert about.facts_of("grid/total_power").unit == "W"
    assert about.site == config.site.name
    polled = sum(bool(device.poll) for device in config.device.values())
    assert len({name.split("/")[0] for name in about.series}) == polled


def test_damaged_table_of_a_later_segment_costs_no_names(tmp_path: Path) -> None:
    test_every_block_says_whose_it_is(tmp_path)
    (_, later) = sorted(tmp_path.glob("*.grug"))
    data = bytearray(later.read_bytes())
    data[SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + 3] ^= 1
    later.write_bytes(data)
    last = LogReader(tmp_path).read()[-1]
    assert (last.frame.kind, last.names, last.site) == (FrameKind.SAMPLES, ["grid/power"], "cave")
