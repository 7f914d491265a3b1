"""How a map is served in a meter's place: which register shows what of an image, on which phase.

An image speaks of one meter of one phase: ``active_power``, ``voltage``, ``import_active_energy``
and so on. A profile is any map whose sidecar says which of its registers show which quantity; those
that are called like a quantity show it by themselves. A quantity of one phase ends in ``_l1``,
``_l2`` or ``_l3``.

The power that is told is put on the phases that the house names, in equal parts, and none on the
others: an inverter acts on the sum, and each of its numbers fits the others. All numbers of a reply
come of one image, so that they are of one moment.

Source of the three-phase rules: arithmetic. U between two phases is sqrt(3) times that to neutral.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from grug.codec.hints import did_you_mean
from grug.codec.image import RegisterImage
from grug.codec.registers import Register, RegisterMap
from grug.errors import EncodeError

PHASES = (1, 2, 3)
POWER = "active_power"
"""The quantity that inverters drive to zero, plus = import."""

_OF_A_PHASE = (
    "voltage",
    "current",
    "active_power",
    "apparent_power",
    "reactive_power",
    "power_factor",
    "import_active_energy",
    "export_active_energy",
    "total_active_energy",
)
QUANTITIES = frozenset(
    [*_OF_A_PHASE, "frequency", "line_voltage"]
    + [f"{name}_l{phase}" for name in _OF_A_PHASE for phase in PHASES]
)
"""What a register can show. ``line_voltage`` is between two phases; ``total_active_energy`` is both
directions together."""


def shown_by(register_map: RegisterMap) -> dict[str, tuple[str, float]]:
    """Of each register that shows something: the quantity, and 1 or -1 to multiply it by."""
    shows = {name: name for name in register_map.registers if name in QUANTITIES}
    shows |= register_map.facts.served.shows
    return {
        name: (quantity.removeprefix("-"), -1.0 if quantity.startswith("-") else 1.0)
        for name, quantity in shows.items()
    }


def power_register(register_map: RegisterMap) -> str:
    """The register that shows the power of the whole; empty when none does."""
    shown = shown_by(register_map)
    return next((name for name, (quantity, _) in shown.items() if quantity == POWER), "")


def power_range_w(register_map: RegisterMap) -> tuple[float, float]:
    """What every register that shows a power can carry, in W: for any phase alone."""
    low_w, high_w = -1e6, 1e6
    for name, (quantity, sign) in shown_by(register_map).items():
        if quantity.startswith(POWER):
            ends = [sign * end for end in _range_of(register_map[name])]
            low_w, high_w = max(low_w, min(ends)), min(high_w, max(ends))
    return low_w, high_w


def _range_of(register: Register) -> tuple[float, float]:
    """What a register can carry."""
    if register.kind.is_float:
        return -math.inf, math.inf
    ends = [float(raw * register.scale + register.offset) for raw in register.kind.raw_range]
    return min(ends), max(ends)


def serving_faults(register_map: RegisterMap) -> Iterator[tuple[str, str]]:
    """Find what is wrong with what a sidecar says of serving.

    Returns:
        Keys of the sidecar, and what is wrong there.
    """
    served, registers = register_map.facts.served, register_map.registers
    for section, names in (("identity", served.identity), ("shows", served.shows)):
        for name in names:
            if name not in registers:
                hint = did_you_mean(name, registers)
                yield name, f"fakemeter.{section}: the map has no register {name!r}{hint}"
    for name, said in served.shows.items():
        quantity = said.removeprefix("-")
        if quantity not in QUANTITIES:
            hint = did_you_mean(quantity, QUANTITIES)
            yield name, f"fakemeter.shows.{name}: there is no quantity {quantity!r}{hint}"
    for name in served.identity.keys() & shown_by(register_map).keys():
        yield name, f"fakemeter.identity: {name} shows a quantity, it cannot stay the same"


class ServedImage:
    """A profile's registers, filled from images."""

    def __init__(
        self,
        register_map: RegisterMap,
        phases: Sequence[int] = (),
        identity: Mapping[str, float] | None = None,
    ) -> None:
        """Lay out the registers and set what never changes.

        Args:
            register_map: the profile.
            phases: 1..3, those that the power is put on; none named means all.
            identity: by register, on top of what the profile says.

        Raises:
            EncodeError: a value of the identity does not fit.
        """
        self.registers = RegisterImage(register_map)
        self._shown = shown_by(register_map)
        self._ranges = [_range_of(register_map[name]) for name in self._shown]
        self._phases = tuple(phases) or PHASES
        fixed = {**register_map.facts.served.identity, **(identity or {})}
        self.registers.set_many(tuple(fixed), tuple(fixed.values()))

    def take(self, names: Sequence[str], values: Sequence[float]) -> None:
        """Show an image from now on; what it does not say is zero.

        Raises:
            EncodeError: a value does not fit or is no number; all is as before.
        """
        told = dict(zip(names, values, strict=True))
        for name, value in told.items():
            if not math.isfinite(value):
                raise EncodeError(f"{name}: {value} is no number to tell")
        quantities = self._quantities(told)
        filled = []
        for (quantity, sign), (low, high) in zip(self._shown.values(), self._ranges, strict=True):
            value = quantities.get(quantity, 0.0) * sign
            if not quantity.startswith(POWER):
                # What nobody steers by must not cost the image: a factor without a sign, say.
                value = abs(value) if value < 0.0 <= low else min(max(value, low), high)
            filled.append(value)
        self.registers.set_many(self._shown, filled)

    def _quantities(self, told: dict[str, float]) -> dict[str, float]:
        """Everything that follows from what was told."""
        found = dict(told)
        imported, exported = told.get("import_active_energy"), told.get("export_active_energy")
        if imported is not None or exported is not None:
            found["total_active_energy"] = (imported or 0.0) + (exported or 0.0)
        voltage_v = told.get("voltage", 0.0)
        found["line_voltage"] = voltage_v * math.sqrt(3.0)
        part = 1.0 / len(self._phases)
        for phase in PHASES:
            share = part if phase in self._phases else 0.0
            for name in _OF_A_PHASE:
                if name == "voltage":
                    found[f"{name}_l{phase}"] = voltage_v
                elif name == "power_factor":
                    found[f"{name}_l{phase}"] = told.get(name, 1.0) if share else 1.0
                else:
                    found[f"{name}_l{phase}"] = share * found.get(name, 0.0)
        return found
