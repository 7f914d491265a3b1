"""Replays a session: the app's own controllers in virtual time, over what a log has.

One run of the house after the other: controllers begin when they began, hear what they heard, and
their answers are compared with the recorded ones, or only measured when the configuration is
another. The plant does not react: it does what it did.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import trio

from grug.app import parts
from grug.app.about import started
from grug.app.control import House, run_house
from grug.app.load import load_house, own_maps
from grug.app.writing import open_gate
from grug.codec.served import ServedImage
from grug.config.types import HouseConfig
from grug.control.memory import REMEMBER_EVERY_S
from grug.errors import MapError, StorageError
from grug.messages import ActorFailed, Decided, Message, MeterImage, RunStarted
from grug.replay.asked import UNDER_WAY_S, Asked, AskedMeter, Witness, questions
from grug.replay.judge import Divergence, Judge, differing_keys
from grug.replay.measure import Measures
from grug.replay.player import Buses, Ledger, Player
from grug.replay.recorded import recorded_config
from grug.replay.session import (
    BlockReader,
    Noticed,
    Pair,
    Recorded,
    SessionBlock,
    pairs_in,
)
from grug.replay.tape import Tape, TapedValues, TapedWrites
from grug.runtime.clock import WallClock
from grug.runtime.feed import Feed
from grug.sim.seeded import JumpClock, seeded_order
from grug.storage.segment import FrameKind
from grug.storage.show import TimeRange
from grug.transport.framereads import read_boot
from grug.transport.logreads import blocks_in

WARM_UP_MS = round(1000 * REMEMBER_EVERY_S) + 60_000
"""What is played before the first moment that is judged, so that controllers know the house: the
recording tells meanwhile what they knew."""
WAITING_MESSAGES_MAX = 100_000
"""Between two looks: they are all at one moment."""
END_S = 4.0
"""After the last message, for outputs that are safe."""
SECRETLESS = ("site.state", "log", "ship", "frames")
"""What controllers do not depend on."""


@dataclass(frozen=True, slots=True)
class Other:
    """A configuration to replay with, in the place of the recorded one."""

    config: HouseConfig
    maps: parts.Maps
    name: str = "the given configuration"


@dataclass(slots=True)
class Replayed:
    """What came of a replay."""

    divergences: list[Divergence] = field(default_factory=list)
    """The first ones, in the order of their times."""
    divergence_count: int = 0
    equal: int = 0
    """Decisions and writes that were the same."""
    answers: int = 0
    """Answers to inverters that were the same, where the ring of frames has them."""
    passed: int = 0
    """Those that differed after a gap, where nobody knows what was remembered."""
    gaps: list[tuple[int, str]] = field(default_factory=list)
    """UTC in ms, and what is missing."""
    notes: list[str] = field(default_factory=list)
    """What of the recording this version does not understand."""
    causes: list[str] = field(default_factory=list)
    """What may make it different: configuration, version, maps."""
    runs: int = 0
    since_ms: int = 0
    until_ms: int = 0
    """First and last time that was played, UTC."""
    crashes: list[str] = field(default_factory=list)
    measures: Measures = field(default_factory=Measures)

    @property
    def divergence(self) -> Divergence | None:
        """The first, or None: everything is as it was recorded."""
        return min(self.divergences, key=lambda each: each.time_ms, default=None)


def load_other(path: Path) -> Other:
    """Read and check a configuration.

    Raises:
        ConfigError: it has mistakes.
        MapError: a map of it has.
    """
    config = load_house(path).house
    return Other(config, parts.load_maps(config, own_maps(path)), str(path))


def replay(
    session: Path | str,
    *,
    other: Other | None = None,
    times: TimeRange | None = None,
    maps: Path | None = None,
    measures: Measures | None = None,
) -> Replayed:
    """Play a session to the app, and compare its answers with the recorded ones.

    Args:
        session: a state directory, a log's directory, or a file that ``grug log export`` wrote.
        other: another configuration; None replays with the recorded one.
        times: what is judged, UTC; None is all of it.
        maps: directory of register maps that come before grug's.
        measures: told what is decided.

    Raises:
        StorageError: there is no such log, or it does not say which configuration it is of.
    """
    return _Replay(Path(session), other, times or TimeRange(), maps, measures).run()


class _Replay:
    """One session on its way through the app."""

    def __init__(
        self,
        path: Path,
        other: Other | None,
        times: TimeRange,
        maps: Path | None,
        measures: Measures | None,
    ) -> None:
        self._path = path
        self._other = other
        self._times = times
        self._maps = maps
        self._reader = BlockReader(self._recorded_house)
        self._found = Replayed(measures=measures or Measures())

    def run(self) -> Replayed:
        """Replay run by run."""
        found = self._found
        blocks = self._blocks()
        first = next(blocks, None)
        if first is None:
            raise StorageError(f"{self._path} has nothing to replay at that time")
        waiting: list[SessionBlock] = [first]
        while waiting:
            begin = waiting.pop()
            if begin.run is None:
                raise StorageError(
                    f"{self._path} does not say with which configuration it was recorded"
                )
            stream = itertools.chain([begin], blocks)
            self._play(begin.run, begin.zero_ms, _same_run(stream, begin.run, waiting))
        found.divergences.sort(key=lambda each: each.time_ms)
        return found

    def _blocks(self) -> Iterator[SessionBlock]:
        """The blocks that are to be played."""
        begin_ms = self._times.since_ms - WARM_UP_MS
        is_first = True
        for pair in pairs_in(blocks_in(self._path)):
            t_min_ms, t_max_ms = _times_of(pair)
            if t_max_ms < begin_ms:
                self._reader.skip(pair)
                continue
            if t_min_ms >= self._times.until_ms:
                return
            block = self._reader.read(pair)
            if is_first and block.run is not None:
                self._look_at_start(block, block.run)
            is_first = False
            yield block

    def _look_at_start(self, block: SessionBlock, run: RunStarted) -> None:
        """A recording that begins in the middle of a run begins with a gap."""
        first_s = block.heard[0].at_s if block.heard else run.started_s
        if first_s > run.started_s + END_S:
            text = "the replay begins in the middle of a run: what was before is not known"
            block.gaps.insert(0, Noticed(first_s, "replay", "gap", text))

    def _recorded_house(self, run: RunStarted) -> Recorded:
        """The house as it was recorded.

        Raises:
            StorageError: this version of grug does not understand its configuration.
        """
        try:
            config, gone = recorded_config(run.config)
            notes = [
                f"key {key!r} of the recorded configuration is not known to this version: left out"
                for key in gone
            ]
            self._found.notes = list(dict.fromkeys([*self._found.notes, *notes]))
            return Recorded(config, parts.load_maps(config, self._maps))
        except msgspec.MsgspecError as error:
            text = f"the configuration was recorded by grug {run.version}: {error}"
            raise StorageError(text) from error
        except MapError as error:
            raise StorageError(f"a register map of the recording is missing: {error}") from error

    def _play(self, run: RunStarted, zero_ms: int, blocks: Iterator[SessionBlock]) -> None:
        """Play one run of the house."""
        recorded = self._recorded_house(run)
        config, maps = recorded
        if self._other is not None:
            config, maps = self._other.config, self._other.maps
        self._note_causes(run, config, maps)
        since_s = max(run.started_s, (self._times.since_ms - zero_ms) / 1000)
        until_s = (self._times.until_ms - zero_ms) / 1000
        first = next(blocks)
        begin_s = max(run.started_s, min((each.at_s for each in first.heard[:50]), default=0.0))
        is_whole = not first.heard or first.heard[0].at_s <= run.started_s + END_S
        if is_whole:
            begin_s = run.started_s
        judge = Judge(since_s, is_loose=not is_whole)
        is_same = self._other is None
        stage = _Stage(
            config,
            maps,
            judge,
            self._found,
            zero_ms,
            since_s,
            until_s,
            is_same=is_same,
            is_whole=is_whole,
        )
        stage.asked = self._asked(recorded, begin_s, first.boot_id)
        with seeded_order(1):
            trio.run(stage.run, itertools.chain([first], blocks), clock=JumpClock(begin_s))
        self._take(judge, stage, zero_ms, since_s)

    def _asked(self, recorded: Recorded, begin_s: float, boot_id: str) -> Iterator[Asked]:
        """What inverters asked from a moment on, as far as the ring of frames has it."""
        state = self._path.parent if self._path.name == "log" else self._path
        if self._other is not None or not (state / "frames").is_dir():
            return iter(())
        lines = recorded.config.line
        meters = {meter.line for meter in recorded.config.fakemeter.values()}
        records = read_boot(state / "frames", boot_id, begin_s)
        return questions(records, {line: lines[line].baudrate for line in meters})

    def _note_causes(self, run: RunStarted, config: HouseConfig, maps: parts.Maps) -> None:
        """What is not as it was recorded."""
        now = started(config, maps, 0.0)
        causes = self._found.causes
        if now.version != run.version:
            causes.append(f"version: recorded by grug {run.version}, this is {now.version}")
        if now.digest != run.digest:
            # Keys that grug did not have yet then were what they are by default now.
            then = started(recorded_config(run.config)[0], maps, 0.0)
            one, other = msgspec.json.decode(then.config), msgspec.json.decode(now.config)
            causes += [
                f"config {text}"
                for text in differing_keys(one, other)
                if not text.startswith(SECRETLESS)
            ]
        for model in sorted(run.maps.keys() & now.maps.keys()):
            if run.maps[model] != now.maps[model]:
                causes.append(f"map {model} is not the one of the recording")
        self._found.causes = list(dict.fromkeys(causes))

    def _take(self, judge: Judge, stage: _Stage, zero_ms: int, since_s: float) -> None:
        found = self._found
        found.runs += 1
        found.equal += judge.equal
        found.passed += judge.passed
        found.answers += judge.answers
        found.divergence_count += judge.divergence_count
        found.divergences += judge.divergences
        found.crashes += stage.crashes
        found.gaps += [(round(gap.at_s * 1000) + zero_ms, gap.text) for gap in judge.gaps]
        if stage.begun_s < math.inf:
            begun_ms = round(max(stage.begun_s, since_s) * 1000) + zero_ms
            found.since_ms = min(found.since_ms or begun_ms, begun_ms)
            found.until_ms = max(found.until_ms, round(stage.ended_s * 1000) + zero_ms)


class _PlayedFeed(Feed):
    """Where controllers hear what was recorded, and not what the replay says in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.allows: Callable[[Message], bool] = lambda message: True

    def publish(self, message: Message) -> None:
        """See ``Feed.publish``."""
        if self.allows(message):
            super().publish(message)


class _Stage:
    """The app with recorded units in the place of its lines."""

    def __init__(
        self,
        config: HouseConfig,
        maps: parts.Maps,
        judge: Judge,
        found: Replayed,
        zero_ms: int,
        since_s: float,
        until_s: float,
        *,
        is_same: bool,
        is_whole: bool,
    ) -> None:
        self._is_same = is_same
        self._is_whole = is_whole
        self.crashes: list[str] = []
        self.asked: Iterator[Asked] = iter(())
        self.begun_s, self.ended_s = math.inf, -math.inf
        self._images: list[MeterImage] = []
        """Those of the decision that comes next."""
        self._config = config
        self._maps = maps
        self._judge = judge
        self._measures = found.measures
        self._zero_ms = zero_ms
        self._since_s = since_s
        self._until_s = until_s

    async def run(self, blocks: Iterator[SessionBlock]) -> None:
        """Play all of it."""
        feed = _PlayedFeed()
        house = House(self._config, self._maps, feed)
        ledger = Ledger(self._judge, self._measures.wrote)
        tape = Tape(self._judge)
        self._measures.begin(self._zero_ms / 1000)
        buses = Buses(house, self._maps, ledger)
        gate = open_gate(house, self._maps, buses.callers, wall=WallClock(self._zero_ms / 1000))
        writes, values = TapedWrites(tape, gate.caller), TapedValues(tape, gate.questions)
        taped = gate._replace(caller=writes, questions=values)
        kinds = (Decided, MeterImage, ActorFailed)
        self._said = house.feed.subscribe("replay", *kinds, bound=WAITING_MESSAGES_MAX)
        self.begun_s = trio.current_time()
        self._witness = Witness(self.asked, _asked_meters(self._config, self._maps), self._judge)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(buses.run)
            start = partial(
                run_house,
                house,
                sources=[gate.part],
                controllers=parts.controllers(house, self._maps, taped),
                data=None,
            )
            nursery.start_soon(start)
            player = Player(
                house,
                buses,
                self._judge,
                ledger,
                tape,
                self._look,
                self._until_s,
                is_same=self._is_same,
                is_whole=self._is_whole,
            )
            feed.allows = player.allows
            await player.run(blocks)
            nursery.cancel_scope.cancel()
        self.ended_s = max(player.played_s, self.begun_s)
        self._measures.end(self.ended_s)

    def _look(self) -> None:
        """Take what was decided, and see what inverters were told meanwhile."""
        self._take_said()
        self._witness.hear(trio.current_time() - UNDER_WAY_S)

    def _take_said(self) -> None:
        if not len(self._said):
            return
        for message in self._said.drain():
            match message:
                case Decided():
                    self._judge.decided(message)
                    for image in self._images:
                        self._witness.show(image, message.decided_s)
                    if message.decided_s >= self._since_s:
                        self._measure(message)
                    self._images.clear()
                case MeterImage():
                    self._images.append(message)
                case ActorFailed():
                    self.crashes.append(f"{message.actor}: {message.text.strip()}")

    def _measure(self, decided: Decided) -> None:
        for image in self._images:
            self._measures.served(image, decided.decided_s)
        self._measures.decided(decided)


def _asked_meters(config: HouseConfig, maps: parts.Maps) -> dict[str, AskedMeter]:
    """The fake meters of a house, by line."""
    found = {}
    for name, meter in config.fakemeter.items():
        served = ServedImage(maps[meter.profile], meter.phases, meter.identity)
        found[meter.line] = AskedMeter(name, meter.unit, served)
    return found


def _same_run(
    blocks: Iterator[SessionBlock], run: RunStarted, waiting: list[SessionBlock]
) -> Iterator[SessionBlock]:
    """Those of one run; the first of the next one is left in ``waiting``."""
    for block in blocks:
        if block.run != run:
            waiting.append(block)
            return
        yield block


def span_ms(path: Path) -> tuple[int, int]:
    """First and last time of a session, UTC.

    Raises:
        StorageError: there is none, or nothing in it.
    """
    kinds = (FrameKind.SAMPLES, FrameKind.EVENTS)
    times = [
        (block.frame.t_min_ms, block.frame.t_max_ms)
        for block in blocks_in(path)
        if block.frame.kind in kinds
    ]
    if not times:
        raise StorageError(f"{path} has nothing to replay")
    return min(each[0] for each in times), max(each[1] for each in times)


def _times_of(pair: Pair) -> tuple[int, int]:
    """First and last time in what was written together."""
    frames = [block.frame for block in (pair.samples, pair.events) if block is not None]
    return min(each.t_min_ms for each in frames), max(each.t_max_ms for each in frames)
