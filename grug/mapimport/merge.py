"""Brings together what sources say of the same words: bits of a word, and registers said twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from grug.codec.registers import Bit, Kind
from grug.mapimport.rows import ImportedRow
from grug.mapimport.words import squeeze
from grug.model import Table


def merge_rows(
    rows: Sequence[ImportedRow],
) -> tuple[list[ImportedRow], Mapping[int, int], list[str]]:
    """Make bit fields of bits, drop repetitions, and find aliases.

    Returns:
        The rows; by index the row of which a row is another view; and what was left out.
    """
    merged, notes = _gather_bits(rows)
    kept: list[ImportedRow] = []
    aliases: dict[int, int] = {}
    first_at: dict[tuple[Table, int, int], int] = {}
    for row in merged:
        key = (row.table, row.address, row.length * row.count)
        first = first_at.setdefault(key, len(kept))
        if first == len(kept):
            kept.append(row)
            continue
        other = kept[first]
        if _meaning(row) == _meaning(other):
            notes.append(f"{row.name} left out: it is {other.name} again")
            continue
        aliases[len(kept)] = first
        kept.append(row.doubting(f"another view of the words of {other.name}"))
    return kept, aliases, notes


def _meaning(row: ImportedRow) -> tuple[object, ...]:
    return row.kind, row.order, row.scale, row.offset, row.scale_by, row.unit, row.choices


def _gather_bits(rows: Sequence[ImportedRow]) -> tuple[list[ImportedRow], list[str]]:
    """Make one bit field of all rows that are a bit of the same word, where the first stood."""
    bits: dict[tuple[Table, int], list[ImportedRow]] = defaultdict(list)
    for row in rows:
        if row.bit is not None:
            bits[row.table, row.address].append(row)
    words = {(row.table, row.address) for row in rows if row.bit is None and _takes_labels(row)}
    gathered: list[ImportedRow] = []
    for row in rows:
        key = (row.table, row.address)
        members = bits.get(key, [])
        if row.bit is None:
            if members and key in words and _takes_labels(row):
                row = replace(row, bits=_labels(members))
                words.discard(key)
                members.clear()
            gathered.append(row)
        elif members and key not in words:
            gathered.append(_field_of(members))
            members.clear()
    return gathered, []


def _takes_labels(row: ImportedRow) -> bool:
    is_plain = row.scale == 1 and row.offset == 0 and not row.scale_by
    return is_plain and row.kind is Kind.U16 and row.count == 1 and not row.bits


def _labels(members: Sequence[ImportedRow]) -> tuple[Bit, ...]:
    labels: dict[int, Bit] = {}
    for member in members:
        labels.setdefault(member.bit or 0, Bit(member.bit or 0, squeeze(member.name)))
    return tuple(labels[bit] for bit in sorted(labels) if bit < 16)


def _field_of(members: Sequence[ImportedRow]) -> ImportedRow:
    first = members[0]
    field = replace(
        first,
        name=f"bits of {first.address}",
        kind=Kind.U16,
        scale=Decimal(1),
        bits=_labels(members),
        bit=None,
    )
    past = [member.name for member in members if (member.bit or 0) > 15]
    return field.doubting(f"bits past 15 left out: {', '.join(past)}" if past else "")
