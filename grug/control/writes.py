"""May a register be written now, and what became of it: pure decisions with their reasons.

Every write of grug is decided here, whoever wants it. The rules, in this order:

1. *access*: a register that does harm, or that the device does not take, is never written; a
   guarded one only by a person's word, or by a controller that was told to;
2. *write if changed*: what the device holds already is not written again, unless it forgets;
3. *wear*: a register that is kept in EEPROM, or nobody knows where, is written no sooner than
   ``interval_s`` after the last time, and no more than ``per_year`` times in 365 days.

Ranges are checked where values are encoded. Nothing is ever written twice because a reply is
missing: the register is read back, and ``judge`` says what that means.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from grug.model import WriteState

Writability: TypeAlias = Literal["read", "free", "guarded", "never"]


@dataclass(frozen=True, slots=True)
class WriteRules:
    """What a house allows."""

    interval_s: float = 10.0
    """Least time between two writes of one register that wears."""
    per_year: int = 500
    """Writes of one register that wears, in 365 days. EEPROM is good for some 100 000: with this it
    lasts longer than the inverter."""
    device_per_year: int = 3000
    """The same for all such registers of a device together: they may share a page of EEPROM."""
    settle_s: float = 0.2
    """Pause before a register is read back; twice as long before each further look."""


class Target(NamedTuple):
    """What of a register matters here."""

    name: str
    access: Writability
    wears: bool
    """Kept in EEPROM, or nobody knows where."""
    note: str = ""


class Past(NamedTuple):
    """What the ledger says of it."""

    sent_s: float | None = None
    """When it was last sent, monotonic; None for never."""
    in_year: int = 0
    device_in_year: int = 0
    is_recorded: bool = True
    """Whether the ledger can take another entry."""


class Wish(NamedTuple):
    """What is wanted of it."""

    new: bytes
    old: bytes | None = None
    """What it holds now; None when that was not read."""
    may_guarded: bool = False
    is_forced: bool = False
    keeps_alive: bool = False


class Verdict(enum.StrEnum):
    """What to do."""

    SEND = "send"
    UNCHANGED = "unchanged"
    REFUSE = "refuse"


class Decision(NamedTuple):
    """The verdict and its reason."""

    verdict: Verdict
    reason: str


def decide(rules: WriteRules, target: Target, past: Past, wish: Wish, now_s: float) -> Decision:
    """Decide about one register.

    Args:
        rules: of the house.
        target: the register.
        past: what was written to it before.
        wish: what is to be written.
        now_s: monotonic time.
    """
    why_not = _no_access(target, wish)
    if why_not:
        return Decision(Verdict.REFUSE, why_not)
    if wish.keeps_alive and target.wears:
        why_not = "is not to be sent again and again: it may be kept in EEPROM, which wears out"
        return Decision(Verdict.REFUSE, f"{target.name} {why_not}")
    if wish.old == wish.new and not wish.keeps_alive:
        return Decision(Verdict.UNCHANGED, "held already; nothing was sent")
    if target.wears and not wish.is_forced:
        why_not = _no_budget(rules, target, past, now_s)
        if why_not:
            return Decision(Verdict.REFUSE, f"{target.name} {why_not}")
    return Decision(Verdict.SEND, "forced" if wish.is_forced else "")


def _no_access(target: Target, wish: Wish) -> str:
    """Why it must not be written by whoever asks, or an empty text."""
    note = f": {target.note}" if target.note else ""
    if target.access == "never":
        return f"{target.name} is never written, since that does harm{note}"
    if target.access == "read":
        return f"{target.name} is not to be written: the device does not take writes"
    if target.access == "guarded" and not wish.may_guarded:
        return f"{target.name} is guarded{note}: whoever asks was not told to write it"
    return ""


def _no_budget(rules: WriteRules, target: Target, past: Past, now_s: float) -> str:
    """Why writing it now would wear it too much, or an empty text."""
    if not past.is_recorded:
        return "is not written while the ledger cannot be: nobody would count it"
    if past.sent_s is not None and now_s - past.sent_s < rules.interval_s:
        ago_s = max(0.0, now_s - past.sent_s)
        return f"was written {ago_s:.0f} s ago; the least interval is {rules.interval_s:g} s"
    return over_budget(rules, past.in_year, past.device_in_year)


def over_budget(rules: WriteRules, in_year: int, device_in_year: int) -> str:
    """Why one more write of a register that wears is one too many, or an empty text.

    Args:
        rules: of the house.
        in_year: writes of the register in 365 days, with those that are promised already.
        device_in_year: of all such registers of the device together.
    """
    if in_year >= rules.per_year:
        return f"was written {in_year} times in 365 days; its budget is {rules.per_year}"
    if device_in_year >= rules.device_per_year:
        return (
            f"is not written: the device's registers were, {device_in_year} times in 365 "
            f"days; their budget is {rules.device_per_year}"
        )
    return ""


class Judgement(NamedTuple):
    """What became of a write."""

    state: WriteState
    reason: str


def judge(
    is_acknowledged: bool, is_new: bool | None, is_old: bool, holds: str = "something else"
) -> Judgement:
    """Say what became of a write that was sent.

    Args:
        is_acknowledged: whether the device said that it took it.
        is_new: whether it was seen to hold the new value afterwards; None when nobody could look.
        is_old: whether it was seen to hold what it held before.
        holds: what it holds, for people, when that is neither.
    """
    if is_new is None:
        if is_acknowledged:
            return Judgement(WriteState.PENDING, "acknowledged, and not read back")
        return Judgement(
            WriteState.PENDING, "no acknowledgement, not read back: whether it was taken is unknown"
        )
    if is_new:
        return Judgement(WriteState.APPLIED, "" if is_acknowledged else "taken, though not said so")
    if not is_old:
        return Judgement(WriteState.REFUSED, f"the device made {holds} of it")
    if is_acknowledged:
        return Judgement(WriteState.REFUSED, f"acknowledged and ignored: it is still {holds}")
    return Judgement(WriteState.REFUSED, f"no acknowledgement, not taken: it is still {holds}")


def judge_later(state: WriteState, is_new: bool, holds: str) -> Judgement | None:
    """Say what a later reading of a written register changes; None when it changes nothing."""
    if is_new:
        if state is WriteState.APPLIED:
            return None
        return Judgement(WriteState.APPLIED, f"seen later: it was {state} before")
    if state is WriteState.APPLIED:
        return Judgement(WriteState.REVERTED, f"it is {holds} now, and grug did not write that")
    if state is WriteState.PENDING:
        return Judgement(WriteState.REFUSED, f"seen later: it is {holds}")
    return None


LOOKS_S = (60.0, 600.0, 3600.0)
"""How long after a write the register is looked at again; after that as often as the last says."""


def next_look_s(sent_s: float, now_s: float) -> float:
    """When to look again at a register that was written at ``sent_s``, monotonic."""
    for after_s in LOOKS_S:
        if now_s < sent_s + after_s:
            return sent_s + after_s
    return now_s + LOOKS_S[-1]
