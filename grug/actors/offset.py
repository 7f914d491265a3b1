"""Offset actor: tells every fake meter what to say, each time the grid's power was read.

In:    Readings and ReadingsMissing of the grid meter and of the second one, SetOffset, and
       UnitChanged and DispatchChanged of the inverters; in a replay Recall
Out:   MeterImage per fake meter and one Decided, per reading of the grid's power; Noted, also for
       every change of where the grid's power comes from; every few minutes Remembered
Owns:  nothing but its memory
Stops: when asked, after a moment of offset 0; a crash leaves the fake meters to fall silent
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio
from msgspec.structs import replace

from grug.control.facts import FactsBook
from grug.control.images import GridOthers
from grug.control.ladder import GridReading, Rung, Step, choose, next_look_s
from grug.control.ladder import Readings as LadderReadings
from grug.control.memory import OffsetKnown, decode_known, encode_known, remember_next_s
from grug.control.offset import (
    OffsetSettings,
    OffsetState,
    SteeredInverter,
    decide,
    decide_stop,
    forget_dispatch,
    take_dispatch,
    take_health,
)
from grug.control.wishes import bounds_of, problem_of, take_wish, without_wish
from grug.messages import (
    DispatchChanged,
    Lagged,
    Message,
    Noted,
    Readings,
    ReadingsMissing,
    Recall,
    Remembered,
    SetOffset,
    UnitChanged,
)
from grug.model import Quality, UnitHealth
from grug.runtime.clock import whole_ms
from grug.runtime.feed import Feed, Subscription

NAME = "offset"

RAMP_EVERY_S = 0.2
"""How often something is decided while no reading asks for it."""


TICK_S = 1e-3
"""Times of readings are whole milliseconds: by less than one they may seem to be yet to come."""

LAST_IMAGES_S = 1.5
"""How long the offset 0 is served before the end: inverters ask at least once a second."""


LASTING = (SetOffset, UnitChanged, DispatchChanged)
"""What must not be missed, whether the actor runs or not."""


class OffsetMemory:
    """What must outlive a crash: wishes, inverters that are away, what registers carry.

    And what was asked for and not heard yet: a crash loses no message but the one that is just
    being taken, and knows which that was.
    """

    def __init__(self, feed: Feed) -> None:
        """From now on nothing that is asked for is missed, whether the actor runs or not."""
        self.state = OffsetState()
        self.waiting: deque[Message] = deque()
        """Out of the inbox, and not taken yet."""
        self.taking: Message | None = None
        """Set while a message changes the state; still set after a crash in that."""
        self._feed = feed
        self._meanwhile = feed.subscribe(NAME, *LASTING)

    @contextmanager
    def awake(self, inbox: Subscription) -> Iterator[None]:
        """While the actor runs it has an inbox of its own; what came before that waits first."""
        self._meanwhile.close()
        self.waiting.extend(self._meanwhile.drain())
        try:
            yield
        finally:
            left = [*self.waiting, *inbox.drain()]
            self.waiting = deque(each for each in left if isinstance(each, (*LASTING, Lagged)))
            self._meanwhile = self._feed.subscribe(NAME, *LASTING)


async def run(
    feed: Feed, *, settings: OffsetSettings, stopping: trio.Event, memory: OffsetMemory
) -> None:
    """Decide at every reading of the grid's power until ``stopping``, and a moment longer."""
    controller = _Controller(feed, settings, memory)
    with controller.inbox, memory.awake(controller.inbox):
        controller.mend()
        controller.take_all([])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(controller.serve)
            nursery.start_soon(controller.look_at_ages)
            await stopping.wait()
            controller.stop()
            await trio.sleep(LAST_IMAGES_S)
            nursery.cancel_scope.cancel()


class _Controller:
    """The inputs as they came in, and the state between decisions.

    Every message is taken at its own time and in the order of the feed, and ages are looked at when
    they are due by that time: what is decided follows from what was published, whenever this task
    came to run. So a recording of the feed is enough to decide it all again (``grug replay``).
    Whether an image may still be served is for the fake meter's own clock.
    """

    def __init__(self, feed: Feed, settings: OffsetSettings, memory: OffsetMemory) -> None:
        self._feed = feed
        self._settings = settings
        self._memory = memory
        self._is_stopping = False
        self._known = LadderReadings()
        self._rung: Rung | None = None
        """Where the grid's power came from at the last decision; None before the first."""
        self._now_s = -math.inf
        """The time of the last message or look; it never goes back."""
        self._remember_s = -math.inf
        """When to tell next what is known."""
        self._look_s = math.inf
        """When a reading will have become too old for its rung, or the ramp's next step is due."""
        self._nap = trio.CancelScope()
        """Of the task that waits for that moment."""
        self._others = GridOthers()
        self._inverters: dict[tuple[str, int], SteeredInverter] = {
            (inverter.line, inverter.unit_id): inverter for inverter in settings.inverters
        }
        passed_on = {
            settings.voltage_register: "voltage_v",
            settings.frequency_register: "frequency_hz",
            settings.import_energy_register: "import_energy_kwh",
            settings.export_energy_register: "export_energy_kwh",
        }
        passed_on.pop("", None)
        self._passed_on = passed_on
        self._book = FactsBook(settings.inverters)
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        second = {
            settings.second_voltage_register: "voltage_v",
            settings.second_frequency_register: "frequency_hz",
        }
        second.pop("", None)
        self._second_passed_on = second
        self._meters = {settings.grid_device, settings.second_device}
        kinds = (Readings, ReadingsMissing, Recall, *LASTING)
        self.inbox = feed.subscribe(NAME, *kinds, wanted=self._is_wanted, wakes=self._wakes)

    async def serve(self) -> None:
        """Wait for what matters and decide when the grid was read, or could not be."""
        while True:
            self.take_all(await self.inbox.receive_batch())
            if self._rung is not None and self._now_s >= self._remember_s:
                self._remember()

    async def look_at_ages(self) -> None:
        """Decide when a reading has become too old for its rung, and while the offset ramps."""
        while True:
            self._nap = trio.CancelScope(deadline=self._look_s)
            with self._nap:
                await trio.sleep_forever()
            self.take_all(self.inbox.drain())
            self._pass_time(trio.current_time())

    def stop(self) -> None:
        """From now on the offset is 0, whoever wishes what."""
        self.take_all(self.inbox.drain())
        self._is_stopping = True
        if self._known.first is not None:
            self._decide(whole_ms(trio.current_time()))

    def mend(self) -> None:
        """Begin after a crash: the message that it fell into may have been taken or not."""
        lost, self._memory.taking = self._memory.taking, None
        match lost:
            case SetOffset():
                self._drop((lost,), "it fell into a crash of the offset controller")
            case DispatchChanged():
                self._memory.state = forget_dispatch(self._memory.state, (lost.inverter,))
                self._note(f"what the registers of {lost.inverter} carry was lost in a crash")
            case UnitChanged():
                self._take_health(lost)  # Twice is as good as once, and nobody says it again.

    def take_all(self, messages: list[Message]) -> None:
        """Note what has come, and decide wherever it asks for that."""
        latest_s = trio.current_time()
        memory = self._memory
        memory.waiting.extend(messages)
        while memory.waiting:
            message = memory.waiting[0]
            at_s = self._now_s
            if isinstance(message, Readings):
                at_s = message.read_s
            elif isinstance(message, ReadingsMissing):
                at_s = message.failed_s
            if at_s > latest_s + TICK_S:
                at_s = latest_s  # A time yet to come would make all that follows old.
            self._pass_time(at_s)
            memory.taking = memory.waiting.popleft()
            asks_to_decide = self._take(message)
            memory.taking = None
            if asks_to_decide:
                self._decide(at_s)

    def _pass_time(self, until_s: float) -> None:
        """Decide what ages alone have brought about by then, each at its moment."""
        while self._look_s <= until_s:
            now_s = self._look_s
            step = choose(self._settings.ladder, self._known, now_s)
            if step.rung is not self._rung or step.rung is Rung.RAMP:
                self._decide(now_s)
            else:
                self._plan_look(step, now_s)

    def _plan_look(self, step: Step, now_s: float) -> None:
        """Find out when to look again. Silence ends with a reading, not by waiting."""
        if step.rung is Rung.RAMP:
            self._look_s = now_s + RAMP_EVERY_S
        else:
            # The instant itself still belongs to the higher rung.
            self._look_s = next_look_s(self._settings.ladder, self._known, step) + 1e-3
        if self._look_s < self._nap.deadline:
            self._nap.deadline = self._look_s

    def _decide(self, at_s: float) -> None:
        """Decide on the best reading there is at a moment, or at the last one if that is later."""
        now_s = self._now_s = max(self._now_s, at_s)
        step = choose(self._settings.ladder, self._known, now_s)
        if step.rung is not self._rung:
            self._note_change(step, now_s)
        self._plan_look(step, now_s)
        ramp = step.reason if step.rung is Rung.RAMP else ""
        settings, state, others = self._settings, self._memory.state, self._others
        if self._is_stopping:
            outcome = decide_stop(settings, state, step.reading, others, now_s)
        else:
            facts = self._book.facts
            outcome = decide(settings, state, step.reading, others, now_s, ramp=ramp, facts=facts)
        self._memory.state = outcome.state
        for image in outcome.images:
            self._feed.publish(image)
        self._feed.publish(outcome.decided)

    def _note_change(self, step: Step, now_s: float) -> None:
        """Say where the grid's power comes from now; a start that goes well is no news."""
        before, self._rung = self._rung, step.rung
        if before is not None or step.rung is not Rung.LIVE:
            text = f"grid power: {before or 'start'} -> {step.rung}: {step.reason}"
            self._feed.publish(Noted(NAME, text, now_s))

    def _is_wanted(self, message: Message) -> bool:
        """Leave out what neither the grid nor an inverter says."""
        if isinstance(message, Readings):
            return message.device in self._meters or message.device in self._book.devices
        if isinstance(message, ReadingsMissing):
            return message.device in self._meters
        return not isinstance(message, Recall) or message.who == NAME

    def _wakes(self, message: Message) -> bool:
        """Inverters' readings are for the next decision: they would wake us ten times as often."""
        return not isinstance(message, Readings) or message.device in self._meters

    def _take(self, message: Message) -> bool:
        """Note one message; returns whether the grid's power is known anew."""
        match message:
            case Readings():
                if message.device == self._settings.grid_device:
                    return self._take_readings(message)
                if message.device in self._book.devices:
                    self._book.take(message)
                return self._take_second(message)
            case ReadingsMissing():
                if (
                    message.device != self._settings.grid_device
                    or self._settings.grid_register not in message.names
                ):
                    return False
                fault = f"{message.device} not read: {message.kind}"
                self._known.take_first(GridReading(0.0, message.failed_s, fault))
                return True
            case SetOffset():
                self._take_wish(message)
            case Lagged():
                self._take_gap(message.count)
            case Recall():
                self._recall(message)
            case DispatchChanged():
                self._memory.state = take_dispatch(self._memory.state, message)
            case UnitChanged():
                self._take_health(message)
        return False

    def _remember(self) -> None:
        """Tell all that the next decision depends on, while nothing waits to be taken."""
        now_s = self._now_s
        known = OffsetKnown(
            self._memory.state,
            self._book.known(),
            self._known,
            self._others,
            self._rung,
            now_s,
            self._look_s,
        )
        self._remember_s = remember_next_s(now_s)
        self._feed.publish(Remembered(encode_known(known), now_s))

    def _recall(self, message: Recall) -> None:
        """Go on from what was known elsewhere; another version's memory says nothing here."""
        known = decode_known(message.memory)
        if not isinstance(known, OffsetKnown):
            return
        self._memory.state = known.state
        self._book.recall(known.facts)
        self._known, self._others, self._rung = known.readings, known.others, known.rung
        self._now_s, self._look_s = known.now_s, known.look_s
        self._nap.deadline = min(self._nap.deadline, self._look_s)

    def _take_health(self, message: UnitChanged) -> None:
        inverter = self._inverters.get((message.line, message.unit_id))
        if inverter is not None:
            is_offline = message.health is UnitHealth.OFFLINE
            self._memory.state = take_health(self._memory.state, inverter.name, is_offline)

    def _take_gap(self, count: int) -> None:
        """So many were never heard: wishes may have ended, inverters be back, registers carry."""
        self._note(f"{count} messages were lost")
        state = self._memory.state
        kept = bounds_of(state.wishes)
        self._drop([each for each in state.wishes if each not in kept], "others were lost")
        state = forget_dispatch(self._memory.state, tuple(state.carried))
        self._memory.state = replace(state, offline=frozenset())

    def _drop(self, wishes: Sequence[SetOffset], why: str) -> None:
        """Do as if nobody had wished this; everybody hears that it has ended."""
        now_s = trio.current_time()
        for wish in wishes:
            state = self._memory.state
            self._memory.state = replace(state, wishes=without_wish(state.wishes, wish))
            if wish.expires_s > now_s:
                self._note(f"{wish.aim} of {wish.power_w:g} W by {wish.who} is not obeyed: {why}")
                self._feed.publish(replace(wish, expires_s=now_s))

    def _note(self, text: str) -> None:
        self._feed.publish(Noted(NAME, text, trio.current_time()))

    def _take_wish(self, wish: SetOffset) -> None:
        problem = problem_of(wish)
        if problem:
            self._note(problem)
        state = self._memory.state
        self._memory.state = replace(state, wishes=take_wish(state.wishes, wish))

    def _take_readings(self, readings: Readings) -> bool:
        layout = self._layouts.get(readings.names)
        if layout is None:
            layout = _Layout(readings.names, self._settings.grid_register, self._passed_on)
            if len(self._layouts) >= LAYOUTS_MAX:
                self._layouts.clear()
            self._layouts[readings.names] = layout
        if layout.others:
            self._others = layout.others_of(readings, self._others)
        if layout.grid_index is None:
            return False
        self._known.take_first(_grid_reading(readings, layout.grid_index))
        return True

    def _take_second(self, readings: Readings) -> bool:
        """Note the second meter's reading; it asks for a decision only when it is believed."""
        if readings.device != self._settings.second_device:
            return False
        settings = self._settings
        layout = _Layout(readings.names, settings.second_register, self._second_passed_on)
        if layout.others:
            live_s = settings.ladder.live_s
            self._others = layout.others_of(readings, self._others, older_by_s=live_s)
        if layout.grid_index is None:
            return False
        reading = _grid_reading(readings, layout.grid_index, settings.second_sign)
        if settings.is_second_relayed:
            self._known.take_relayed(reading)
        else:
            self._known.take_second(reading)
        return self._rung is not None and self._rung is not Rung.LIVE


LAYOUTS_MAX = 64
"""A device has a handful of poll groups; a publisher of ever new ones must not fill us."""


class _Layout:
    """Where in one poll group's values the wanted ones are."""

    def __init__(self, names: tuple[str, ...], grid: str, passed_on: dict[str, str]) -> None:
        self.grid_index = names.index(grid) if grid in names else None
        self.others = tuple(
            (index, passed_on[name]) for index, name in enumerate(names) if name in passed_on
        )

    def others_of(
        self, readings: Readings, before: GridOthers, older_by_s: float = -math.inf
    ) -> GridOthers:
        """What was known before, with the good values of these readings.

        Args:
            readings: of a meter.
            before: what was known.
            older_by_s: what was known is replaced only when it is older by more than this.
        """
        fresh: dict[str, tuple[float, float]] = {}
        for index, name in self.others:
            value = readings.values[index]
            is_good = not readings.qualities or readings.qualities[index] is Quality.GOOD
            known: tuple[float, float] | None = getattr(before, name)
            is_old = known is None or readings.read_s - known[1] > older_by_s
            if is_good and is_old and isinstance(value, float | int):
                fresh[name] = (float(value), readings.read_s)
        return replace(before, **fresh)


def _grid_reading(readings: Readings, index: int, sign: float = 1.0) -> GridReading:
    """The grid's power out of readings that hold it."""
    value = readings.values[index]
    if readings.qualities and readings.qualities[index] is not Quality.GOOD:
        return GridReading(0.0, readings.read_s, f"reading is {readings.qualities[index]}")
    if isinstance(value, bool) or not isinstance(value, float | int):
        return GridReading(0.0, readings.read_s, "grid power is not a number")
    return GridReading(sign * value, readings.read_s)
