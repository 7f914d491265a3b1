"""What can only be wrong between the rows of a map, or between its two files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from grug.codec.hints import did_you_mean
from grug.codec.registers import Register
from grug.codec.sidecar import Sidecar
from grug.errors import Problem
from grug.model import Table


def overlaps(entries: Sequence[tuple[int, Register]], file_name: str) -> Iterator[Problem]:
    """Find names that are used twice, and addresses where no alias is declared.

    Args:
        entries: registers and their lines.
        file_name: for the messages.
    """
    lines: dict[str, int] = {}
    owners: dict[tuple[Table, int], tuple[int, Register]] = {}
    by_name = {register.name: register for _, register in entries}
    for line, register in entries:
        first = lines.setdefault(register.name, line)
        if first != line:
            text = f"name: {register.name} is already on line {first}"
            yield Problem(file_name, line, text)
        if register.alias:
            fault = _alias_fault(register, by_name)
            if fault:
                yield Problem(file_name, line, fault)
            continue
        span = register.span
        for address in range(span.address, span.end):
            other_line, other = owners.setdefault((span.table, address), (line, register))
            if other is not register:
                text = (
                    f"address: {register.name} overlaps {other.name} (line {other_line}) at"
                    f" {address}; if both are meant, say so in column alias"
                )
                yield Problem(file_name, line, text)
                break


def _alias_fault(register: Register, by_name: Mapping[str, Register]) -> str:
    other = by_name.get(register.alias)
    if other is None:
        hint = did_you_mean(register.alias, by_name)
        return f"alias: the map has no register {register.alias!r}{hint}"
    mine, theirs = register.span, other.span
    shares = mine.table is theirs.table and mine.address < theirs.end and theirs.address < mine.end
    if other is register or not shares:
        return f"alias: {register.name} shares no address with {register.alias}"
    return ""


def label_faults(
    registers: Mapping[str, Register], arrays: Mapping[str, tuple[str, ...]], sidecar: Sidecar
) -> Iterator[tuple[str, str]]:
    """Find what the sidecar says of registers that are not there, or cannot have labels.

    Returns:
        Keys of the sidecar, and what is wrong there.
    """
    known = {**registers, **{name: registers[names[0]] for name, names in arrays.items()}}
    identify = sidecar.facts.identify
    if identify and identify not in registers:
        hint = did_you_mean(identify, registers)
        yield "identify", f"identify: the map has no register {identify!r}{hint}"
    for name in sidecar.facts.identity:
        if name not in registers:
            hint = did_you_mean(name, registers)
            yield "identity", f"identity: the map has no register {name!r}{hint}"
    labelled = [("bits", name) for name in sidecar.bits]
    labelled += [("enums", name) for name in sidecar.choices]
    for section, name in labelled:
        register = known.get(name)
        if register is None:
            hint = did_you_mean(name, known)
            yield name, f"{section}: the map has no register {name!r}{hint}"
        elif not register.kind.is_integer or register.is_scaled or register.scale_by is not None:
            yield name, f"{section}: {name} is no unscaled integer"
        elif section == "bits":
            if any(bit.bit >= 16 * register.words for bit in sidecar.bits[name]):
                yield name, f"bits: {name} has only {16 * register.words} bits"
        else:
            yield from _choice_faults(register, name, sidecar)


def _choice_faults(register: Register, name: str, sidecar: Sidecar) -> Iterator[tuple[str, str]]:
    choices = sidecar.choices[name]
    low, high = register.kind.raw_range
    for choice in choices:
        if not low <= choice.number <= high:
            yield name, f"enums: {choice.number} is no raw value of {name}, a {register.kind}"
    numbers = [choice.number for choice in choices]
    labels = [choice.label for choice in choices]
    if len(set(numbers)) < len(numbers) or len(set(labels)) < len(labels):
        yield name, f"enums: {name} has a number or a label twice"
    if name in sidecar.bits:
        yield name, f"enums: {name} is a bit field already"
