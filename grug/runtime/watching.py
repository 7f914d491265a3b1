"""Registers that were written, and what later readings say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from grug.control.writes import next_look_s
from grug.messages import SetRegisters
from grug.model import Value, WriteState
from grug.runtime.gate_unit import GateUnit
from grug.runtime.steps import Step

LINE_PAUSE_S = 60.0
"""How long after a line in the ledger of what is seen later comes the next, at first."""
LOOK_PATIENCE_S = 30.0
"""How long a later look may wait for a busy line."""


@dataclass(slots=True)
class Written:
    """A register that was written, and is looked at again."""

    step: Step
    request: SetRegisters
    state: WriteState
    sent_s: float
    look_s: float
    keep_s: float = 0.0
    """When the ledger takes another line of what is seen later."""
    pause_s: float = LINE_PAUSE_S
    """How long after a line: what comes and goes all day shall not fill the disk."""


class Watching:
    """What was written in this process, by device and register."""

    def __init__(self) -> None:
        """Begin with none."""
        self._written: dict[str, dict[str, Written]] = {}

    def watch(self, unit: GateUnit, step: Step, request: SetRegisters, state: WriteState) -> None:
        """Compare later readings of a written register with it."""
        if not step.stays:
            return
        now_s = trio.current_time()
        written = Written(step, request, state, now_s, next_look_s(now_s, now_s))
        self._written.setdefault(unit.device, {})[step.register.name] = written

    def forget(self, unit: GateUnit, register: str) -> None:
        """It is being written anew."""
        self._written.get(unit.device, {}).pop(register, None)

    def differs(self, device: str, names: Sequence[str], values: Sequence[Value]) -> bool:
        """Whether readings of a device say something new of a register that was written."""
        watched = self._written.get(device)
        if not watched:
            return False
        for name, written in watched.items():
            if name in names:
                is_new = written.step.holds_value(values[names.index(name)])
                is_open = written.state is WriteState.PENDING
                if is_open or is_new is not (written.state is WriteState.APPLIED):
                    return True
        return False

    def of_device(self, device: str) -> list[tuple[str, Written]]:
        """The registers of a device that were written, by name."""
        return list(self._written.get(device, {}).items())

    def due(self) -> list[tuple[str, list[Written]]]:
        """By device, those that are to be looked at now; the next look is put off."""
        now_s = trio.current_time()
        found = []
        for device, watched in self._written.items():
            due = [each for each in watched.values() if each.look_s <= now_s]
            for each in due:
                each.look_s = next_look_s(each.sent_s, now_s)
            if due:
                found.append((device, due))
        return found

    def next_look_s(self) -> float:
        """When the next written register is to be looked at."""
        return min(
            (each.look_s for written in self._written.values() for each in written.values()),
            default=trio.current_time() + LOOK_PATIENCE_S,
        )
