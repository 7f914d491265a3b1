"""Imports device templates of wb-mqtt-serial.

Source: the README of wb-mqtt-serial. Addresses are wire addresses; value = raw * scale + offset.
Parameters, conditions and Jinja templates are not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from grug.codec.hints import did_you_mean
from grug.codec.registers import Access, Choice, DeviceFacts, Kind, WordOrder
from grug.mapimport.jsontext import list_of, load_json
from grug.mapimport.lines import LineFinder
from grug.mapimport.rows import Import, ImportedRow
from grug.mapimport.words import decimal, decimals_of, order_of, squeeze, unit_of, whole
from grug.model import Table

TABLES = {
    "coil": Table.COIL,
    "discrete": Table.DISCRETE_INPUT,
    "holding": Table.HOLDING_REGISTER,
    "holding_single": Table.HOLDING_REGISTER,
    "holding_multi": Table.HOLDING_REGISTER,
    "input": Table.INPUT_REGISTER,
}

FORMATS = {
    "u16": Kind.U16,
    "s16": Kind.S16,
    "u32": Kind.U32,
    "s32": Kind.S32,
    "u64": Kind.U64,
    "s64": Kind.S64,
    "float": Kind.F32,
    "double": Kind.F64,
    "bcd16": Kind.BCD16,
    "bcd32": Kind.BCD32,
}

_LOW_BYTE = ("u8", "char8")
_UNITS = {
    "voltage": "V",
    "current": "A",
    "power": "W",
    "power_consumption": "kWh",
    "temperature": "°C",
    "rel_humidity": "%",
    "atmospheric_pressure": "mbar",
    "pressure": "mbar",
    "resistance": "Ohm",
    "concentration": "ppm",
    "lux": "lx",
    "sound_level": "dB",
    "heat_energy": "Gcal",
    "heat_power": "Gcal/h",
    "water_flow": "m3/h",
    "water_consumption": "m3",
    "wind_speed": "m/s",
    "rainfall": "mm/h",
}
"""What the types of channels stand for. Source: Wiren Board's MQTT conventions."""


def import_wirenboard(text: str, source: str) -> Import:
    """Read all channels of a template, those of its subdevices too."""
    result = Import(source)
    root = load_json(text, source)
    device = root.get("device", root) if isinstance(root, dict) else None
    if not isinstance(device, dict):
        result.complain("no device with channels")
        return result
    protocol = str(device.get("protocol", "modbus"))
    if not protocol.startswith("modbus"):
        result.complain(f"a device of protocol {protocol!r}, which is not Modbus")
        return result
    _take_facts(device, result)
    finder = LineFinder(text)
    left_out = _read_channels(device, "", finder, result)
    if left_out:
        result.notes.append(f"{left_out} channels without an address left out")
    if not result.rows and not result.problems:
        result.complain("no device with channels")
    return result


def _take_facts(device: Mapping[str, Any], result: Import) -> None:
    words_max = whole(device.get("max_read_registers")) or 125
    guard_us = whole(device.get("guard_interval_us")) or 0
    title = squeeze(str(device.get("name", "")))
    result.facts = DeviceFacts(
        title=title, words_max=min(max(words_max, 1), 125), gap_s=min(guard_us / 1e6, 10.0)
    )


def _read_channels(
    device: Mapping[str, Any], prefix: str, finder: LineFinder, result: Import
) -> int:
    """Read the channels; gives how many have no address and so stand for something else."""
    left_out = 0
    subdevices = {
        str(entry.get("device_type")): entry["device"]
        for entry in list_of(device.get("subdevices"))
        if isinstance(entry, dict) and isinstance(entry.get("device"), dict)
    }
    for number, channel in enumerate(list_of(device.get("channels")), 1):
        if not isinstance(channel, dict):
            result.complain(f"channel {number} is no object")
        elif "address" in channel:
            _Channel(result, finder, channel, prefix, f"channel {number}").read()
        elif str(channel.get("device_type")) in subdevices and not prefix:
            inner = subdevices[str(channel["device_type"])]
            left_out += _read_channels(inner, f"{channel.get('name', '')} ", finder, result)
        else:
            left_out += 1
    return left_out


class _Channel:
    """Reads one channel."""

    def __init__(
        self,
        result: Import,
        finder: LineFinder,
        channel: Mapping[str, Any],
        prefix: str,
        place: str,
    ) -> None:
        self.result = result
        self.channel = channel
        self.name = squeeze(prefix + str(channel.get("name", "")))
        self.line = finder.line_of(str(channel.get("name", "")))
        self.place = place
        self.doubts: list[str] = []
        self.before = len(result.problems)

    def complain(self, text: str) -> None:
        self.result.complain(text, self.line, self.place)

    def read(self) -> None:
        channel = self.channel
        if not self.name:
            self.complain("name: empty")
        reg_type = str(channel.get("reg_type", "holding"))
        table = TABLES.get(reg_type)
        if table is None:
            self.complain(f"reg_type: unknown {reg_type!r}{did_you_mean(reg_type, TABLES)}")
        address, bit = self._address()
        kind = Kind.BOOL if table is not None and table.is_bits else self._kind()
        scale, offset = self._number("scale", 1), self._number("offset", 0)
        if scale == 0:
            self.complain("scale: 0 would make every value the same")
        if len(self.result.problems) > self.before or not (table and kind) or address is None:
            return
        is_scaled = kind is not Kind.BOOL and bit is None
        round_to = decimal(channel.get("round_to", 1)) or Decimal(1)
        units = str(channel.get("units") or _UNITS.get(str(channel.get("type")), ""))
        can_write = table in (Table.COIL, Table.HOLDING_REGISTER)
        is_written = can_write and not channel.get("readonly") and channel.get("type") != "value"
        row = ImportedRow(
            self.name,
            table,
            address,
            kind,
            count=self._count(),
            order=self._order(),
            scale=scale if is_scaled else Decimal(1),
            offset=offset if is_scaled else Decimal(0),
            unit=unit_of(units),
            decimals=max(decimals_of(scale), decimals_of(round_to)) if is_scaled else 0,
            access=Access.GUARDED if is_written else Access.READ,
            invalid=self._invalid(),
            choices=self._choices() if is_scaled and scale == 1 and offset == 0 else (),
            bit=bit,
            line=self.line,
            place=self.place,
            doubts=tuple(self.doubts),
        )
        self.result.rows.append(row)

    def _address(self) -> tuple[int | None, int | None]:
        """The address, and the bit where the channel is one: ``109:3:1`` is bit 3 of word 109."""
        value = self.channel["address"]
        parts = str(value).split(":") if isinstance(value, str) else [value]
        numbers = [whole(part) for part in parts]
        address = numbers[0]
        if None in numbers or address is None or len(numbers) > 3:
            self.complain(f"address: {value!r} is not a whole number")
            return None, None
        if len(numbers) == 1:
            return address, None
        width = numbers[2] if len(numbers) == 3 else 1
        if width != 1:
            self.complain(f"address: {value!r}: a group of bits of a word is no register of ours")
        return address, numbers[1]

    def _kind(self) -> Kind | None:
        text = str(self.channel.get("format", "u16"))
        if text in FORMATS:
            return FORMATS[text]
        if text in _LOW_BYTE:
            self.doubts.append(f"{text}: the low byte of the word; imported as the whole word")
            return Kind.U16
        if text == "string":
            self.doubts.append("a text of one character a word, in the low byte; imported raw")
            return Kind.U16
        known = ("s8", "u24", "s24", "bcd8", "bcd24")
        what = "has no kind of ours" if text in known else "is unknown"
        self.complain(
            f"format: {text!r} {what}" + ("" if text in known else did_you_mean(text, FORMATS))
        )
        return None

    def _count(self) -> int:
        """Of a text, its characters."""
        size = whole(self.channel.get("string_data_size"))
        return max(size or 1, 1) if self.channel.get("format") == "string" else 1

    def _order(self) -> WordOrder:
        words, swapped_bytes = self.channel.get("word_order"), self.channel.get("byte_order")
        for key, value in (("word_order", words), ("byte_order", swapped_bytes)):
            if value not in (None, "big_endian", "little_endian"):
                self.complain(f"{key}: unknown order {value!r}")
        return order_of(
            swap_words=words == "little_endian", swap_bytes=swapped_bytes == "little_endian"
        )

    def _number(self, key: str, default: int) -> Decimal:
        number = decimal(self.channel.get(key, default))
        if number is None:
            self.complain(f"{key}: {self.channel[key]!r} is not a number")
        return Decimal(default) if number is None else number

    def _choices(self) -> tuple[Choice, ...]:
        """The numbers of a list of choices, and their titles."""
        numbers = [whole(number) for number in list_of(self.channel.get("enum"))]
        titles = [squeeze(str(title)) for title in list_of(self.channel.get("enum_titles"))]
        return tuple(
            Choice(number, title)
            for number, title in zip(numbers, titles, strict=False)
            if number is not None
        )

    def _invalid(self) -> tuple[int, ...]:
        sentinels = []
        for key in ("error_value", "unsupported_value"):
            if key in self.channel:
                number = whole(self.channel[key])
                if number is None:
                    self.doubts.append(f"{key}: {self.channel[key]!r} left out, it is no number")
                else:
                    sentinels.append(number)
        return tuple(dict.fromkeys(sentinels))
