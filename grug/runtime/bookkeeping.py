"""What the ledger says of each register, and what goes into it: budgets, times, lines to keep.

Owns:  the process's view of the ledger; other processes write to the same one
Never: raises for a ledger that cannot be written; it says so, and the rules take care
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import msgspec
import trio

from grug.control.writes import Past, WriteRules, over_budget
from grug.errors import StorageError
from grug.messages import WriteRecorded
from grug.model import Value, WriteState
from grug.runtime.clock import WallClock
from grug.runtime.gate_unit import GateUnit
from grug.runtime.steps import Step
from grug.storage.ledger import ROUTINE_MS, Ledger, LedgerBook, LedgerEntry

REFUSALS_MS = 60_000
"""Refusals of one register are kept no more often: whoever asks in a loop fills no disk."""

_SENT = (WriteState.APPLIED, WriteState.PENDING)


class Bookkeeper:
    """Keeps the ledger for all devices of a gate."""

    def __init__(
        self,
        rules: WriteRules,
        ledger: Ledger,
        wall: WallClock,
        publish: Callable[[WriteRecorded], None],
    ) -> None:
        """Take over what was written before; see ``Gate``."""
        self.rules = rules
        self.is_recorded = not ledger.problem
        """Whether the ledger took the last entry."""
        self._ledger = ledger
        self._book = LedgerBook(ledger.entries())
        self._wall = wall
        self._publish = publish
        self._sent_s: dict[tuple[str, str], float] = {}
        self._kept: dict[tuple[str, str], LedgerEntry] = {}
        """By unit and register: the last line in the ledger."""
        self._uncounted: dict[tuple[str, str], int] = {}
        """Writes since then that have none."""
        self._told: dict[tuple[str, str], tuple[bool, Value]] = {}
        self._name = secrets.token_hex(4)
        """Unlike that of any other, in this process too."""
        self._ids = 0
        self._begun_s: float | None = None
        self._begun_ms = 0

    def past(self, unit: GateUnit, register: str, promised: Sequence[str] = ()) -> Past:
        """What the ledger says of a register.

        Args:
            unit: the device.
            register: of it.
            promised: registers that wear and will be sent before it, by the same request.
        """
        now_s = trio.current_time()
        now_ms = self._wall.utc_ms(now_s)
        return Past(
            self._last_sent_s(unit, register, now_s),
            self._book.in_year(unit.key, register, now_ms) + promised.count(register),
            self._book.unit_in_year(unit.key, now_ms) + len(promised),
            self.is_recorded,
        )

    def overdrawn(self, unit: GateUnit, register: str) -> str:
        """Why what was noted must not be sent after all, or an empty text.

        Another process may have noted something between the decision and the note. Each sees the
        notes before its own, so that whoever comes first may send.
        """
        now_ms = self._wall.utc_ms(trio.current_time())
        in_year = self._book.in_year(unit.key, register, now_ms) - 1
        device = self._book.unit_in_year(unit.key, now_ms) - 1
        return over_budget(self.rules, in_year, device)

    def _last_sent_s(self, unit: GateUnit, register: str, now_s: float) -> float | None:
        """When it was sent last, by this process or an earlier one.

        The wall's clock is believed as far as it can be: a time in the future counts as the moment
        at which this process began.
        """
        if (sent_s := self._sent_s.get((unit.key, register))) is not None:
            return sent_s
        if self._begun_s is None:
            self._begun_s, self._begun_ms = now_s, self._wall.utc_ms(now_s)
        last = self._book.last(unit.key, register)
        if last is None:
            return None
        return self._begun_s - max(0.0, (self._begun_ms - last.utc_ms) / 1000.0)

    def new_id(self) -> str:
        """A name for one write, unlike any other in the ledger."""
        self._ids += 1
        return f"{self._wall.utc_ms(trio.current_time())}-{self._ids}-{self._name}"

    def about_to_send(self, unit: GateUnit, step: Step) -> None:
        """Note when a register is sent."""
        self._sent_s[unit.key, step.register.name] = trio.current_time()

    async def record(
        self, unit: GateUnit, step: Step, record: WriteRecorded, *, sends: int = 1
    ) -> bool:
        """Put one line into the ledger; False when it cannot be kept."""
        wears = step.target.wears
        entry = LedgerEntry(
            step.id,
            self._wall.utc_ms(trio.current_time()),
            unit.key,
            unit.device,
            record.register,
            record.who,
            record.why,
            record.new,
            record.state,
            record.reason,
            old=record.old,
            read_back=record.read_back,
            unit_of=step.register.unit,
            wears=wears,
            sends=sends,
            per_year=self.rules.per_year if wears else 0,
        )
        self._book.take(entry)
        key = (unit.key, record.register)
        if not self._is_worth_a_line(key, entry):
            self._uncounted[key] = self._uncounted.get(key, 0) + sends
            return self.is_recorded
        if not wears:
            entry = msgspec.structs.replace(entry, sends=sends + self._uncounted.pop(key, 0))
        self._kept[key] = entry
        try:
            others = await self._ledger.add(entry, is_durable=wears)
        except StorageError:
            self.is_recorded = False
        else:
            self.is_recorded = True
            self._take_others(others)
        return self.is_recorded

    def _take_others(self, entries: Sequence[LedgerEntry]) -> None:
        """Count what other processes have noted meanwhile, as if it were of this moment."""
        for entry in entries:
            if self._book.take(entry) and entry.wears and entry.sends:
                self._sent_s[entry.unit, entry.register] = trio.current_time()

    def _is_worth_a_line(self, key: tuple[str, str], entry: LedgerEntry) -> bool:
        """Whether it is more than the routine of a register in RAM, or of a refused asker."""
        last = self._kept.get(key)
        if last is None or (entry.wears and entry.sends) or entry.id == last.id:
            return True
        is_like_it = (entry.state, entry.who, bool(entry.sends)) == (
            last.state,
            last.who,
            bool(last.sends),
        )
        pause_ms = ROUTINE_MS if entry.sends else REFUSALS_MS
        return not is_like_it or not 0 <= entry.utc_ms - last.utc_ms < pause_ms

    def publish(self, record: WriteRecorded, *, is_routine: bool = False) -> None:
        """Tell everybody; of what is sent again and again only what is new."""
        key, told = (record.device, record.register), (record.state in _SENT, record.new)
        if not is_routine or self._told.get(key) != told:
            self._publish(record)
        self._told[key] = told
