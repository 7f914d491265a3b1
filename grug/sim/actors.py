"""Message fidelity: simulated actors in the place of lines, bus owners, pollers and fake meters.

In:    MeterImage from the feed; calls with ReadRegisters and WriteRegisters, per line
Out:   what pollers, bus owners and fake meters would publish: Readings, ReadingsMissing,
       LineCounted, LineChanged, UnitChanged, FakeMeterCounted, FakeMeterChanged, write ledger
Owns:  the simulated house's inputs: what the inverters' meter ports hear, and what is written
Stops: when cancelled

One task does all that happens by the clock: it sleeps until the next instant at which anything is
due, and does everything that is due then. Between two such instants the house is not looked at, so
what an inverter asked its meter meanwhile is made up for, with the image that was in force.
"""

from __future__ import annotations

import math

import trio

from grug.codec.block import runs_of
from grug.config.types import DeviceConfig, LineConfig, PollConfig
from grug.errors import exception_text
from grug.messages import (
    ANSWERS,
    FakeMeterChanged,
    FakeMeterCounted,
    LineChanged,
    LineCounted,
    Message,
    MeterImage,
    ReadFailed,
    Readings,
    ReadingsMissing,
    ReadRegisters,
    RegistersRead,
    UnitChanged,
    WriteDone,
    WriteFailed,
    WriteRegisters,
)
from grug.model import FailureKind, UnitHealth
from grug.planner.plan import ReadCost, ReadLimits, plan_reads, plan_s
from grug.protocol.rtu import interframe_delay_s
from grug.runtime.calls import BusCaller, BusCalls, BusReply, BusRequest, open_calls
from grug.runtime.clock import whole_ms
from grug.runtime.feed import Feed
from grug.sim.faults import FaultKind
from grug.sim.line import METER_TIMEOUT_S, TURNAROUND_S, SimMeterPort, wire_character_s
from grug.sim.seeded import sleep_until
from grug.sim.units import SimUnit
from grug.sim.wiring import SimulatedHouse

COUNT_EVERY_S = 1.0
FIRST_POLL_S = 0.2
"""After the start, so that everybody who wants the first readings has subscribed."""
MISSING_EVERY_S = 10.0
"""As often as a poller says that a unit stays away."""
UNPLUGGED = "the adapter was unplugged"
_SAME_S = 1e-6
"""Instants closer than this are done in one wake-up."""
_SPOILING = (FaultKind.SILENT, FaultKind.GARBAGE, FaultKind.LATE, FaultKind.FOREIGN)


class SimActors:
    """Everything between the simulated house and the controllers, without bytes."""

    def __init__(self, sim: SimulatedHouse, feed: Feed) -> None:
        """Prepare; nothing is published before ``run``."""
        self._sim = sim
        self._house = sim.house
        self._feed = feed
        config = sim.config
        now_s = trio.current_time()
        meter_lines = {meter.line for meter in config.fakemeter.values()}
        self._lines = {name: _LineTally(name) for name in config.line if name not in meter_lines}
        """Lines on which grug asks; on a meter port nobody counts transactions."""
        self._groups = [
            _Group(sim, self._lines[device.line], name, device, poll, now_s)
            for name, device in config.device.items()
            for poll in device.poll
        ]
        self._meters = {
            name: _Meter(name, port, feed, now_s) for name, port in sim.meter_ports.items()
        }
        self.buses: dict[str, BusCaller] = {}
        """By line name: how controllers reach the units."""
        self._calls: dict[str, BusCalls] = {}
        for name in self._lines:
            self.buses[name], self._calls[name] = open_calls()
        self._heard: set[str] = set()
        """Devices that have answered."""
        self._offline: set[str] = set()
        """Devices that do not answer."""
        self._down: set[str] = set()
        """Lines that are unplugged."""

    async def run(self) -> None:
        """Be the lines, pollers and fake meters until cancelled."""
        now_s = trio.current_time()
        for name in self._sim.config.line:
            self._feed.publish(LineChanged(name, True, "opened", now_s))
        async with trio.open_nursery() as nursery:
            for name, calls in self._calls.items():
                nursery.start_soon(self._serve, name, calls, name=f"simulated bus {name}")
            nursery.start_soon(self._keep_time)

    async def _keep_time(self) -> None:
        """Sleep until something is due, do all of it, again."""
        groups, meters, house = self._groups, tuple(self._meters.values()), self._house
        count_s = trio.current_time() + COUNT_EVERY_S
        with self._feed.subscribe("simulated meters", MeterImage, key=_fakemeter_of) as images:
            while True:
                wake_s = count_s
                for group in groups:
                    if group.due_s < wake_s:
                        wake_s = group.due_s
                await sleep_until(wake_s)
                now_s = trio.current_time()
                for message in images.drain():
                    if isinstance(message, MeterImage):
                        self._meters[message.fakemeter].image = message
                for meter in meters:
                    meter.catch_up(now_s)
                house.advance(now_s)
                due_s = now_s + _SAME_S
                for group in groups:
                    if group.due_s <= due_s:
                        self._poll(group, now_s)
                if count_s <= due_s:
                    count_s += COUNT_EVERY_S
                    self._count(now_s)

    def _poll(self, group: _Group, now_s: float) -> None:
        """Publish one group's readings, or that they are missing."""
        group.due_s += group.every_s
        tally = group.tally
        tally.transactions += group.transactions
        tally.busy_s += group.cost_s
        if self._sim.faults.faults and not self._is_well(group, now_s):
            tally.failures += 1
            return
        if group.device not in self._heard:
            self._heard.add(group.device)
            text = "it answers"
            self._feed.publish(
                UnitChanged(group.line, group.unit.unit_id, UnitHealth.HEALTHY, text, now_s)
            )
        values = tuple([getter() for getter in group.getters])
        group.unit.heard(now_s)
        self._feed.publish(Readings(group.device, whole_ms(now_s), group.names, values))

    def _is_well(self, group: _Group, now_s: float) -> bool:
        """Whether the unit answers; if not, say so as poller and bus owner would."""
        kind, text = self._fault_of(group.device, group.line, now_s)
        is_offline = kind is FailureKind.NO_REPLY
        if is_offline != (group.device in self._offline):
            self._offline.symmetric_difference_update((group.device,))
            health = UnitHealth.OFFLINE if is_offline else UnitHealth.HEALTHY
            cause = text or "answers again"
            self._feed.publish(UnitChanged(group.line, group.unit.unit_id, health, cause, now_s))
        if kind is None:
            group.told_s = -math.inf
            return True
        if now_s >= group.told_s + MISSING_EVERY_S:
            group.told_s = now_s
            self._feed.publish(ReadingsMissing(group.device, group.names, kind, text, now_s))
        return False

    def _fault_of(self, device: str, line: str, now_s: float) -> tuple[FailureKind | None, str]:
        """What keeps a device from answering just now; None when nothing does."""
        faults = self._sim.faults
        if faults.faults:
            if self._sim.ports[line].is_unplugged:
                return FailureKind.LINE_DOWN, UNPLUGGED
            for kind in _SPOILING:
                if faults.is_on(kind, now_s, device, line):
                    return FailureKind.NO_REPLY, f"no good reply: {kind}"
        return None, ""

    def _look_at_plugs(self, now_s: float) -> None:
        """Publish lines that were lost or came back."""
        for name, port in self._sim.ports.items():
            is_down = port.is_unplugged
            if is_down != (name in self._down):
                self._down.symmetric_difference_update((name,))
                cause = UNPLUGGED if is_down else "opened"
                self._feed.publish(LineChanged(name, not is_down, cause, now_s))

    def _count(self, now_s: float) -> None:
        """Once a second, the counters of lines and fake meters."""
        if self._sim.faults.faults:
            self._look_at_plugs(now_s)
        for tally in self._lines.values():
            self._feed.publish(tally.counted(now_s))
        for meter in self._meters.values():
            meter.tell_answers()
            self._feed.publish(meter.counted(now_s))

    async def _serve(self, line_name: str, calls: BusCalls) -> None:
        """Answer the calls for one line."""
        async for call in calls:
            if not call.is_abandoned:
                reply = self._answer(line_name, call.request, trio.current_time())
                call.reply(reply)
                if isinstance(reply, WriteDone | WriteFailed):
                    self._feed.publish(reply)

    def _answer(self, line_name: str, request: BusRequest, now_s: float) -> BusReply:
        unit = self._sim.unit_at(line_name, request.unit_id)
        device = next((name for name, each in self._sim.units.items() if each is unit), "")
        tally = self._lines[line_name]
        tally.transactions += 1
        kind, text = self._fault_of(device, line_name, now_s)
        if unit is None:
            kind, text = FailureKind.NO_REPLY, "no such unit"
        if unit is not None and kind is None:
            if isinstance(request, ReadRegisters):
                blocks = [unit.read(span, now_s) for span in request.spans]
                good = tuple(block for block in blocks if isinstance(block, bytes))
                if len(good) == len(blocks):
                    return RegistersRead(good, now_s)
                text, kind = "exception", FailureKind.REFUSED
            else:
                code = unit.write(
                    request.table, request.address, request.block, now_s, request.mask
                )
                if not code:
                    return WriteDone(line_name, request, now_s)
                text, kind = exception_text(code), FailureKind.REFUSED
        assert kind is not None, "what was not answered has a reason"
        tally.failures += 1
        if isinstance(request, WriteRegisters):
            return WriteFailed(line_name, request, kind, text, now_s)
        return ReadFailed(kind, text, now_s)


class _LineTally:
    """What a bus owner would have counted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.transactions = 0
        self.failures = 0
        self.busy_s = 0.0
        """Since the last count."""

    def counted(self, now_s: float) -> LineCounted:
        busy_pct = min(100.0, 100.0 * self.busy_s / COUNT_EVERY_S)
        self.busy_s = 0.0
        return LineCounted(
            self.name, now_s, round(busy_pct, 2), self.transactions, self.failures, 0
        )


class _Group:
    """Registers of one device that are polled together."""

    __slots__ = (
        "cost_s",
        "device",
        "due_s",
        "every_s",
        "getters",
        "line",
        "names",
        "tally",
        "told_s",
        "transactions",
        "unit",
    )

    def __init__(
        self,
        sim: SimulatedHouse,
        tally: _LineTally,
        name: str,
        device: DeviceConfig,
        poll: PollConfig,
        now_s: float,
    ) -> None:
        self.tally = tally
        self.device = name
        self.line = device.line
        self.unit: SimUnit = sim.units[name]
        self.names = tuple(poll.registers)
        self.getters = self.unit.getters(self.names)
        self.every_s = float(poll.every)
        self.due_s = now_s + FIRST_POLL_S
        self.told_s = -math.inf
        register_map = self.unit.register_map
        facts = register_map.facts
        cost = _read_cost(sim.config.line[device.line])
        plan = plan_reads(
            runs_of(register_map.select(self.names), facts.words_max),
            cost,
            ReadLimits(facts.words_max, facts.bits_max, forbidden=facts.barriers),
        )
        self.transactions = len(plan)
        self.cost_s = plan_s(plan, cost)


def _read_cost(line: LineConfig) -> ReadCost:
    """What a read costs on a line, about."""
    character_s = wire_character_s(line.baudrate, line.framing)
    return ReadCost(character_s, interframe_delay_s(line.baudrate), TURNAROUND_S)


class _Meter:
    """A fake meter and the inverter that asks it."""

    def __init__(self, name: str, port: SimMeterPort, feed: Feed, now_s: float) -> None:
        self.image: MeterImage | None = None
        self._name = name
        self._port = port
        self._feed = feed
        self._ask_s = now_s
        self._was_live = False
        self._queries = self._answered = self._silent_stale = self._before = 0
        self._age_s = math.nan
        self._answered_s = -math.inf
        """Of the last answer that was not told yet."""
        question = port.question
        turnaround_s = interframe_delay_s(port.baudrate)
        self._answer_s = len(question.adu) * port.character_s + turnaround_s
        """From the begin of a question to the begin of its answer."""
        self._arrive_s = self._answer_s + question.reply_length * port.character_s
        self._interval_s = max(port.interval_s, self._arrive_s + turnaround_s)

    def catch_up(self, now_s: float) -> None:
        """Let the inverter ask what it would have asked until now."""
        while self._ask_s + self._answer_s <= now_s:
            answers_s = self._ask_s + self._answer_s
            is_answered = self._ask(answers_s)
            self._ask_s += (
                self._interval_s if is_answered else max(self._interval_s, METER_TIMEOUT_S)
            )
        self._check_live(now_s)

    def counted(self, now_s: float) -> FakeMeterCounted:
        """The counters, as the fake meter would publish them."""
        rate = (self._queries - self._before) / COUNT_EVERY_S
        self._before = self._queries
        return FakeMeterCounted(
            self._name, now_s, rate, self._answered, self._silent_stale, 0, 0, self._age_s
        )

    def tell_answers(self) -> None:
        """Publish when the last answer was given, as the fake meter would."""
        if self._answered_s > -math.inf:
            values = (self._answered,)
            self._feed.publish(Readings(self._name, whole_ms(self._answered_s), ANSWERS, values))
            self._answered_s = -math.inf

    def _ask(self, answers_s: float) -> bool:
        """One question; returns whether it was answered in a way that the inverter understood."""
        port = self._port
        if port.faults.faults and (port.has(FaultKind.SILENT, answers_s) or port.is_unplugged):
            return False
        self._queries += 1
        image = self.image
        if image is None or answers_s > image.valid_until_s:
            self._silent_stale += 1
            return False
        self._answered += 1
        self._answered_s = answers_s
        self._age_s = answers_s - image.read_s
        if port.faults.faults and port.has(FaultKind.GARBAGE, answers_s):
            return False
        power_w = image.values[image.names.index("active_power")]
        arrives_s = answers_s - self._answer_s + self._arrive_s
        port.inverter.believe(float(round(power_w)), port.house.seconds_at(arrives_s))
        return True

    def _check_live(self, now_s: float) -> None:
        """Publish going live and going silent, once per change."""
        image = self.image
        is_live = image is not None and now_s <= image.valid_until_s
        if is_live != self._was_live:
            self._was_live = is_live
            cause = "fresh image" if is_live else "no fresh image"
            self._feed.publish(FakeMeterChanged(self._name, is_live, cause, now_s))


def _fakemeter_of(message: Message) -> str:
    """What images are conflated by."""
    assert isinstance(message, MeterImage), "the subscription has no other kind"
    return message.fakemeter
