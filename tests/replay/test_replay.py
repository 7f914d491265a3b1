"""A recording is decided again: the same, or it is said what is different, since when and why."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from recording import record, segment_of, without_samples

from grug.app.about import HIDDEN, started
from grug.app.load import load_house
from grug.app.parts import load_maps
from grug.config.types import HouseConfig, PowerSaveConfig, ScheduleConfig
from grug.control import offset
from grug.control.memory import OffsetKnown, decode_known
from grug.demo.record import Record
from grug.demo.settings import DemoSettings, example_house
from grug.errors import StorageError
from grug.messages import Decided, GateAnswered, RunStarted
from grug.replay import Replayed, load_other, replay
from grug.replay.judge import Judge
from grug.replay.report import causes_of, result_text
from grug.replay.session import BlockReader, Noticed, Recorded, Said, SessionBlock, pairs_in
from grug.storage.show import TimeRange
from grug.transport.logreads import blocks_in, copy_blocks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("session"))


@pytest.fixture(scope="module")
def long_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve minutes: the offset controller tells three times what it knows."""
    return record(tmp_path_factory.mktemp("long"), hours=0.2)


@pytest.fixture(scope="module", params=["message", "wire"])
def any_session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("any"), fidelity=request.param)


def changed_house(tmp_path: Path, before: str, after: str) -> Path:
    text = example_house().read_text(encoding="utf-8")
    assert before in text
    path = tmp_path / "new.toml"
    path.write_text(text.replace(before, after), encoding="utf-8")
    return path


def with_recorded_offset(tmp_path: Path, before: str, after: str) -> Path:
    """The example house as the session had it, but for one key."""
    path = changed_house(tmp_path, "power = 0 ", "power = 300 ")
    text = path.read_text(encoding="utf-8").replace(before, after)
    text = text.replace("share = 1.0", "gain = 0.45\ndead_time = 0.55\nshare = 1.0")
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recording_is_decided_again_exactly(any_session: Path) -> None:
    found = replay(any_session)
    assert found.divergence is None
    assert (found.gaps, found.crashes, found.passed, found.runs) == ([], [], 0, 1)
    assert found.equal > 850, "five decisions a second, and the charger's"
    has_frames = any((any_session / "frames").glob("*.grug"))
    assert found.answers > 1000 if has_frames else found.answers == 0, "each byte of them"
    assert "EQUAL" in result_text(found)


def told_by_registers(house: HouseConfig) -> HouseConfig:
    """One inverter by its registers alone, and switched by its state of charge; one by both."""
    inverters = dict(house.inverter)
    one, other = inverters
    saving = PowerSaveConfig()
    inverters[one] = msgspec.structs.replace(inverters[one], control="dispatch", power_save=saving)
    inverters[other] = msgspec.structs.replace(inverters[other], control="both", keep_clock=True)
    return msgspec.structs.replace(house, inverter=inverters)


@pytest.mark.parametrize("fidelity", ["message", "wire"])
def test_what_inverters_were_told_by_registers_is_decided_again_exactly(
    fidelity: str, tmp_path: Path
) -> None:
    session = record(tmp_path, fidelity=fidelity, hours=0.11, change=told_by_registers)
    found = replay(session)
    assert found.divergence is None, result_text(found)
    assert found.gaps == []
    tape = [each for each in answered(session) if each.is_write]
    assert len(tape) > 20
    assert any(each.reason for each in tape)  # While the inverter was silent.


def answered(session: Path) -> list[GateAnswered]:
    """What the gate told controllers, as the log has it."""
    config = load_house(example_house()).house
    reader = BlockReader(lambda run: Recorded(config, load_maps(config)))
    blocks = [reader.read(pair) for pair in pairs_in(blocks_in(session))]
    messages = [each.message for block in blocks for each in block.heard]
    return [each for each in messages if isinstance(each, GateAnswered)]


def test_replaying_twice_is_the_same(session: Path) -> None:
    first, second = replay(session), replay(session)
    assert (first.equal, first.measures.rows()) == (second.equal, second.measures.rows())


def test_a_changed_key_is_named_as_the_cause(session: Path, tmp_path: Path) -> None:
    path = with_recorded_offset(tmp_path, "slew = 1000 ", "slew = 500 ")
    found = replay(session, other=load_other(path))
    first = found.divergence
    assert first is not None
    assert first.controller == "offset"
    (moved, *_) = first.differences
    assert moved.series == "offset/offset_w"
    assert float(moved.replayed) == pytest.approx(float(moved.recorded) / 2)
    assert any("config offset.slew: 1000.0 -> 500.0" in cause for cause in causes_of(found))
    assert any("total_power" in line for line in result_text(found).splitlines())


def test_another_charger_limit_is_another_write(session: Path, tmp_path: Path) -> None:
    path = with_recorded_offset(tmp_path, "limit = 10 ", "limit = 16 ")
    found = replay(session, other=load_other(path))
    assert {each.controller for each in found.divergences} == {"evse/evse", "writes"}
    assert any("evse.garage.limit: 10.0 -> 16.0" in cause for cause in causes_of(found))


def test_a_changed_law_is_found_and_blamed_on_the_code(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offset, "SLEW_STEP_S_MAX", 0.1)
    found = replay(session)
    assert found.divergence is not None
    assert found.divergence.controller == "offset"
    assert "the code decides differently" in causes_of(found)[-1]


def test_answers_that_no_image_gives_are_found(tmp_path: Path) -> None:
    """The frames of one house beside the log of another one."""
    session = record(tmp_path / "one", fidelity="wire", hours=0.02)
    other = record(tmp_path / "other", fidelity="wire", hours=0.02, offset_w=-1500.0)
    shutil.rmtree(session / "frames")
    shutil.copytree(other / "frames", session / "frames")
    found = replay(session)
    assert found.divergence is not None
    assert {each.controller for each in found.divergences} <= {
        "fakemeter/fake_solis1",
        "fakemeter/fake_solis2",
    }
    (answer,) = found.divergence.differences
    assert len(answer.recorded) == len(answer.replayed) > 20


def test_what_is_done_by_the_clock_finds_its_counterpart_in_a_part_of_a_run() -> None:
    """Of the first ones nothing was recorded that is known; the others come one by one."""
    judge = Judge(100.0, is_loose=True)
    names = ("limit_a", "failures")
    series = tuple(f"evse/garage/{name}" for name in names)
    for at_s in range(10, 200, 10):
        judge.decided(Decided("evse/garage", at_s - 0.2, names, (10.0, 0.0), "fixed"))
        if at_s > 20:
            said = Said(float(at_s), series, (10.0, 0.0))
            judge.expect(SessionBlock(None, 0, said=[said]))
    judge.end(200.0)
    assert judge.divergences == []
    assert judge.equal >= 8


def test_what_only_the_replay_decides_is_found() -> None:
    judge = Judge()
    judge.decided(Decided("offset", 10.0, ("offset_w",), (5.0,), "just so"))
    judge.end(60.0)
    (found,) = judge.divergences
    assert (found.controller, found.at_s) == ("offset", 10.0)
    assert found.differences[0].recorded == "none"


def gap_at(at_s: float) -> Noticed:
    return Noticed(at_s, "log", "gap", "blocks are missing")


def decide_alone(judge: Judge, at_s: float, controller: str = "offset") -> None:
    """A decision of the replay without a recorded one, and nothing more to wait for."""
    judge.decided(Decided(controller, at_s, ("offset_w",), (5.0,), "just so"))
    judge.end(at_s + 60.0)


def test_what_was_done_unknowing_passes_once_the_recording_tells_what_was_known() -> None:
    judge = Judge()
    decide_alone(judge, 5.0)
    judge.pass_over(gap_at(10.0))
    decide_alone(judge, 20.0)  # Passes: a moment after the gap.
    decide_alone(judge, 200.0)
    decide_alone(judge, 201.0, "evse/garage")
    assert (judge.divergence_count, judge.passed) == (3, 1)
    judge.recalled("offset", 300.0)
    assert [each.at_s for each in judge.divergences] == [5.0, 201.0]
    assert (judge.divergence_count, judge.passed) == (2, 2)
    decide_alone(judge, 300.0)
    assert judge.divergence_count == 2, "it may not have been told yet"
    decide_alone(judge, 300.2)
    assert judge.divergence_count == 3
    judge.pass_over(gap_at(400.0))
    decide_alone(judge, 450.0)
    assert judge.divergence_count == 3
    decide_alone(judge, 461.0)
    assert judge.divergence_count == 4, "as long as nothing more is told"


def test_what_was_due_when_the_run_was_stopped_may_be_missing() -> None:
    judge = Judge()
    judge.stopping(100.0)
    decide_alone(judge, 100.0)
    assert judge.divergence_count == 0
    decide_alone(judge, 100.2)
    assert judge.divergence_count == 1


def test_lost_blocks_are_a_gap_and_no_divergence(session: Path, tmp_path: Path) -> None:
    part = tmp_path / "damaged.grug"
    part.write_bytes(without_samples(segment_of(session), 7))
    found = replay(part)
    assert found.divergence is None
    ((_, text),) = found.gaps
    assert "1 blocks of the log are missing" in text
    assert found.equal > 780


def with_schedule(house: HouseConfig) -> HouseConfig:
    """The house that absorbs more than usual for hours, by its schedule."""
    entry = ScheduleConfig(start="10:00", end="13:00", power=-900.0)
    return msgspec.structs.replace(house, schedule={"noon": entry})


@pytest.mark.parametrize("after_s", [20, 395, 640])
def test_parts_of_a_session_add_up_to_the_whole(long_session: Path, after_s: int) -> None:
    """What was learned of measured inverters before a part began is told by the recording."""
    whole = replay(long_session)
    cut_ms = whole.since_ms + after_s * 1000 + 50
    first = replay(long_session, times=TimeRange(whole.since_ms, cut_ms))
    last = replay(long_session, times=TimeRange(cut_ms, whole.until_ms + 1))
    for part in (whole, first, last):
        assert (part.divergence, part.gaps, part.passed) == (None, [], 0), result_text(part)
    assert last.since_ms == cut_ms
    assert last.equal > (710 - after_s) * 5
    assert abs(whole.equal - first.equal - last.equal) <= 2, "one by the clock may be at the cut"


def with_dispatch(house: HouseConfig) -> HouseConfig:
    """One inverter by its registers alone, one by both."""
    one, other = house.inverter
    replaced = msgspec.structs.replace
    inverters = {
        one: replaced(house.inverter[one], control="dispatch"),
        other: replaced(house.inverter[other], control="both"),
    }
    return replaced(house, inverter=inverters)


def with_keeper(house: HouseConfig) -> HouseConfig:
    """One inverter that is switched off when it has nothing to give, and whose clock is kept."""
    (one, first), *others = house.inverter.items()
    kept = msgspec.structs.replace(first, power_save=PowerSaveConfig(), keep_clock=True)
    return msgspec.structs.replace(house, inverter={one: kept, **dict(others)})


@pytest.fixture(scope="module", params=[with_dispatch, with_keeper])
def actors_session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return record(tmp_path_factory.mktemp("actors"), hours=0.2, change=request.param)


@pytest.mark.parametrize("after_s", [395, 640])
def test_parts_of_a_house_told_by_registers_add_up_to_the_whole(
    actors_session: Path, after_s: int
) -> None:
    """What was written before a part began, and when, is told by the recording."""
    whole = replay(actors_session)
    cut_ms = whole.since_ms + after_s * 1000 + 50
    first = replay(actors_session, times=TimeRange(whole.since_ms, cut_ms))
    last = replay(actors_session, times=TimeRange(cut_ms, whole.until_ms + 1))
    for part in (whole, first, last):
        assert (part.divergence, part.gaps) == (None, []), result_text(part)
    assert first.passed == 0
    assert last.passed == whole.passed <= 1, "of what was due just as the run was stopped"
    assert abs(whole.equal - first.equal - last.equal) <= 2, "one by the clock may be at the cut"


def test_actors_that_are_not_told_what_they_knew_are_found(
    actors_session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is with recordings from before they told it; the offset controller is itself."""
    whole = replay(actors_session)
    monkeypatch.setattr(
        "grug.replay.player.decode_known",
        lambda memory: known if isinstance(known := decode_known(memory), OffsetKnown) else None,
    )
    found = replay(actors_session, times=TimeRange(whole.since_ms + 640_000, whole.until_ms))
    assert {each.controller.partition("/")[0] for each in found.divergences} <= {"dispatch"}
    has_writes = any(each.is_write for each in answered(actors_session))
    assert bool(found.divergences) == has_writes, "looks by the clock find their counterparts"


def test_without_what_was_known_a_part_differs_a_little(
    long_session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is with recordings from before the controller told it."""
    whole = replay(long_session)
    monkeypatch.setattr("grug.replay.player.decode_known", lambda memory: None)
    found = replay(long_session, times=TimeRange(whole.since_ms + 640_000, whole.until_ms))
    assert found.divergence is not None
    assert found.gaps, "the beginning in the middle is named"
    for each in found.divergences:
        for difference in each.differences:
            assert difference.series.startswith("offset/served_w/")
            assert abs(float(difference.recorded) - float(difference.replayed)) < 50


def test_an_offset_that_was_asked_for_before_a_part_is_known_in_it(tmp_path: Path) -> None:
    """Asked for at the beginning and for the whole time, eleven minutes before."""
    session = record(tmp_path, hours=0.19, change=with_schedule)
    whole = replay(session)
    assert whole.divergence is None, result_text(whole)
    found = replay(session, times=TimeRange(whole.since_ms + 660_000, whole.until_ms))
    assert (found.divergence, found.gaps, found.passed) == (None, [], 0), result_text(found)
    rows = found.measures.rows()
    assert any(value for name, value in rows.items() if "offset" in name)


def test_after_lost_blocks_the_controller_is_itself_as_soon_as_it_is_told(
    long_session: Path, tmp_path: Path
) -> None:
    part = tmp_path / "damaged.grug"
    part.write_bytes(without_samples(segment_of(long_session), 7))
    found = replay(part)
    assert found.divergence is None, result_text(found)
    assert len(found.gaps) == 1
    assert found.equal > (720 - 300) * 5, "all after it told what it knew"


def test_an_exported_part_is_a_recording_too(long_session: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.grug", tmp_path / "part.grug"
    assert copy_blocks(long_session / "log", TimeRange(), whole) > 70
    assert replay(whole).equal == replay(long_session).equal
    since_ms = replay(long_session).since_ms + 400_000
    copy_blocks(long_session / "log", TimeRange(since_ms), part)
    assert part.stat().st_size < whole.stat().st_size
    found = replay(part)
    assert found.divergence is None, result_text(found)
    assert found.gaps
    assert found.since_ms < since_ms, "it begins where it is told what was known"
    assert (720 - 320) * 5 < found.equal < replay(whole).equal


def test_two_runs_in_one_log_are_replayed_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins at the hour of the first: to the log, the clock was set back meanwhile."""

    def go_on(settings: DemoSettings) -> Record:
        return Record(settings.state / "fast", is_resumed=False)

    record(tmp_path, hours=0.02)
    alone = replay(tmp_path / "fast").equal
    monkeypatch.setattr("grug.demo.fast.open_record", go_on)
    record(tmp_path, hours=0.02, offset_w=-500.0)
    found = replay(tmp_path / "fast")
    assert (found.runs, found.gaps) == (2, [])
    # Decisions after a block's last reading have times that are a little off while the log's time
    # goes slower; the very last ones then find no counterpart.
    assert found.divergence_count <= 3
    assert found.equal >= 2 * alone - 6


def test_readings_come_back_as_they_were_published(session: Path) -> None:
    """Among them those of a unit that was away, and in the types that the maps give."""
    config = load_house(example_house()).house

    def house_of(run: RunStarted) -> Recorded:
        return Recorded(config, load_maps(config))

    reader = BlockReader(house_of)
    blocks = [reader.read(pair) for pair in pairs_in(blocks_in(session))]
    heard = [each.message for block in blocks for each in block.heard]
    kinds = {type(message).__name__ for message in heard}
    assert kinds >= {"Readings", "ReadingsMissing", "UnitChanged", "RunStarted", "RunStopping"}
    times = [
        each.at_s
        for block in blocks
        for each in block.heard
        if getattr(each.message, "device", "") not in config.fakemeter
    ]
    assert times == sorted(times), "message fidelity publishes in the order of time"
    socket_states = {
        type(message.values[message.names.index("socket_state")])
        for message in heard
        if "socket_state" in getattr(message, "names", ()) and type(message).__name__ == "Readings"
    }
    assert socket_states == {int}


def test_secrets_of_the_configuration_are_not_in_the_log(session: Path) -> None:
    config = load_house(example_house()).house
    config = msgspec.structs.replace(
        config,
        log=msgspec.structs.replace(config.log, token="hush-hush"),
        ship=msgspec.structs.replace(config.ship, to="http://me:hush-hush@nas:8123/grug"),
    )
    message = started(config, load_maps(config), 0.0)
    assert "hush" not in message.config
    assert message.config.count(HIDDEN) == 2
    assert "nas:8123" in message.config


def test_what_cannot_be_replayed_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no log in"):
        replay(tmp_path)
    (tmp_path / "other.grug").write_bytes(b"something else")
    with pytest.raises(StorageError, match="is no log of grug"):
        replay(tmp_path / "other.grug")
    with pytest.raises(StorageError, match="cannot be read: No such file"):
        replay(tmp_path / "nowhere.grug")


@pytest.fixture
def live_session(tmp_path: Path) -> Path:
    """Half a minute of real processes on real pseudo-terminals, with a lost meter."""
    command = [sys.executable, "-m", "grug", "demo", "--no-view", "--hours", "0.008"]
    command += ["--state", str(tmp_path), "--offset", "400", "--fault", "grid:silent@12+4"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as demo:
        try:
            demo.wait(120)
        finally:
            if demo.poll() is None:
                os.killpg(demo.pid, signal.SIGKILL)
    return tmp_path / "live"


def test_what_real_processes_decided_in_real_time_is_decided_again_exactly(
    live_session: Path,
) -> None:
    started_s = time.perf_counter()
    found: Replayed = replay(live_session)
    assert found.divergence is None
    assert (found.gaps, found.passed) == ([], 0)
    assert found.equal > 100
    assert time.perf_counter() - started_s < 20.0
