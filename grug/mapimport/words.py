"""Words that people use for kinds, units and numbers, and what they mean here."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation

from grug.codec.registers import Kind, WordOrder

_UNITS = {
    unit.lower(): unit
    for unit in (
        *("V", "A", "W", "kW", "VA", "kVA", "var", "kvar", "Hz", "Wh", "kWh", "MWh", "varh"),
        *("kvarh", "VAh", "kVAh", "Ah", "°C", "%"),
    )
} | {
    "℃": "°C",
    "degc": "°C",
    "deg c": "°C",
    "pct": "%",
    "volt": "V",
    "volts": "V",
    "amp": "A",
    "amps": "A",
    "watt": "W",
    "watts": "W",
    "°": "deg",
    "degrees": "deg",
    "degree": "deg",
}
_NO_UNIT = ("none", "-", "--", "/", "n/a", "na")
_MEGA_OR_MILLI = re.compile(r"m(w|v|a|va|var|varh|vah)$", re.IGNORECASE)

KNOWN_UNIT = re.compile(
    r"[\d.,]*\s*(?:[kMm]?(?:V|A|W|VA|var|Hz|Wh|VAh|varh|Ah|s)|%|°C|℃|deg)", re.IGNORECASE
)
"""Units that are surely some, with or without a scale before them."""

_NUMBER = r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?"
_NUMBER_AND_UNIT = re.compile(rf"({_NUMBER})\s*(.*)", re.DOTALL)
_FRACTION = re.compile(rf"({_NUMBER})\s*/\s*({_NUMBER})\s*(.*)", re.DOTALL)
_POWER = re.compile(r"10\s*(?:\^|\*\*|exp|E)\s*\(?([-+]?\d{1,2})\)?\s*(.*)", re.DOTALL)

_BITS = re.compile(r"(?<!\d)(8|16|32|64)(?!\d)")
_FLOAT = re.compile(r"float|real|ieee|\bsingle\b|double|\bfp?(?:32|64)\b", re.IGNORECASE)
_TEXT = re.compile(r"ascii|\bstr(?:ing)?(?![a-z])|\bchar|text|utf", re.IGNORECASE)
_UNSIGNED = re.compile(
    r"unsigned|u_?int|u_?(?:short|long|word)|\bu_?\d|word|int(?:8|16|32|64)u|enum"
    r"|bit ?(?:field|map)|\bacc\d|\bhex\b|\buns",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"(?<!un)signed|(?<![u_])int|(?<!u)short|(?<!u)long|\b[si]_?\d", re.IGNORECASE)
_BOOL = re.compile(r"\s*(?:bool(?:ean)?|bit|coil|binary|1 ?bit|on ?/ ?off)\s*", re.IGNORECASE)
_WIDE = re.compile(r"q_?word|long ?long|double(?!.*word)", re.IGNORECASE)
_DOUBLE = re.compile(r"d_?word|long|double ?word", re.IGNORECASE)


def squeeze(text: str | None) -> str:
    """One line with single spaces."""
    return " ".join((text or "").split())


def identifier(text: str) -> str:
    """Make a snake_case identifier; empty when nothing of the text can be in one."""
    plain = unicodedata.normalize("NFKD", text.replace("%", " pct ").replace("ß", "ss"))
    plain = plain.encode("ascii", "ignore").decode()
    # Words that begin with a capital letter after a small one are words of their own.
    plain = re.sub(r"(?<=[a-z][a-z])(?=[A-Z][a-z])", "_", plain)
    name = re.sub(r"[^0-9a-z]+", "_", plain.lower()).strip("_")
    if len(name) > 60:
        name = name[:60].rpartition("_")[0] or name[:60]
    return f"r_{name}" if name[:1].isdigit() else name


def whole(value: object) -> int | None:
    """A whole number from what a file holds: an integer, or text in decimal or as ``0x...``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, Decimal) and value == value.to_integral_value() and value.adjusted() < 30:
        return int(value)
    if not isinstance(value, str) or len(value) > 40:
        return None
    text = value.strip().lower().replace("_", "")
    try:
        return int(text, 16) if text.lstrip("-").startswith("0x") else int(text)
    except ValueError:
        return None


def decimal(value: object) -> Decimal | None:
    """An exact number from what a file holds; a decimal comma is understood."""
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, int | Decimal):
            number = Decimal(value)
        elif isinstance(value, str) and len(value) <= 60:
            number = Decimal(value.strip().replace(",", "."))
        else:
            return None
    except InvalidOperation:
        return None
    # No device's scale is near the bound; beyond it exact arithmetic becomes slow, or fails.
    return number if number.is_finite() and abs(number.adjusted()) <= 30 else None


def unit_of(text: str) -> str:
    """The usual spelling of a unit; case decides between milli and mega, so it stays then."""
    text = squeeze(text)
    if text.lower() in _NO_UNIT:
        return ""
    if _MEGA_OR_MILLI.match(text):
        return text
    return _UNITS.get(text.lower(), text)


def scale_and_unit(text: str) -> tuple[Decimal | None, str]:
    """Take apart what one count means, such as ``0,1V``, ``1.13W``, ``1/10 A``, ``kWh``.

    Returns:
        The scale, or None when the text has none, and the unit.
    """
    text = squeeze(text).lstrip("xX*× ") if re.match(r"\s*[xX*×]\s*\d", text) else squeeze(text)
    match = _POWER.fullmatch(text)
    if match and abs(int(match[1])) <= 30:
        return Decimal(10) ** int(match[1]), unit_of(match[2])
    if match := _FRACTION.fullmatch(text):
        below = decimal(match[2])
        if below:
            return (decimal(match[1]) or Decimal(0)) / below, unit_of(match[3])
    if match := _NUMBER_AND_UNIT.fullmatch(text):
        return decimal(match[1]), unit_of(match[2])
    return None, unit_of(text)


def plain(number: Decimal) -> str:
    """Write a number without exponent and without zeros behind it."""
    if abs(number.adjusted()) > 30:
        return str(number)
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def decimals_of(scale: Decimal) -> int:
    """Digits behind the point that a scale makes."""
    text = plain(scale)
    return min(len(text.partition(".")[2]), 15)


def kind_of(text: str, words: int = 0) -> Kind | None:
    """Tell what kind a data type's name means.

    Args:
        text: such as ``UINT32``, ``S16``, ``unsigned int``, ``IEEE754 float``, ``DWORD``.
        words: length that the source states; it decides where the name does not tell the bits.

    Returns:
        None when nobody can tell, or no kind of ours fits.
    """
    if _BOOL.fullmatch(text):
        return Kind.BOOL
    if re.search(r"bcd", text, re.IGNORECASE):
        return Kind.BCD32 if words == 2 or "32" in text else Kind.BCD16
    if re.search(r"unix|epoch|time_?stamp", text, re.IGNORECASE):
        return Kind.UNIX32 if words in (0, 2) else None
    if re.search(r"date|time", text, re.IGNORECASE):
        return {3: Kind.CLOCK3, 6: Kind.CLOCK6}.get(words)
    bits_text = _BITS.search(text)
    if _FLOAT.search(text) and not re.search(r"double ?word", text, re.IGNORECASE):
        bits = int(bits_text[1]) if bits_text else 64 if _WIDE.search(text) else 16 * words or 32
        return {32: Kind.F32, 64: Kind.F64}.get(bits)
    if _TEXT.search(text):
        return Kind.TEXT
    is_unsigned = bool(_UNSIGNED.search(text))
    if not is_unsigned and not _SIGNED.search(text):
        return None
    if bits_text:
        bits = int(bits_text[1])
    elif re.search(r"[a-z]\d", text, re.IGNORECASE):
        return None  # A length that no number of ours has, such as UINT24.
    elif _WIDE.search(text):
        bits = 64
    elif _DOUBLE.search(text):
        bits = 32
    else:
        bits = 16 * (words or 1)
    return integer_kind(bits // 16, signed=not is_unsigned)


def integer_kind(words: int, *, signed: bool) -> Kind | None:
    """The whole number of so many words; None when there is none."""
    kinds = {1: (Kind.U16, Kind.S16), 2: (Kind.U32, Kind.S32), 4: (Kind.U64, Kind.S64)}
    return kinds[words][signed] if words in kinds else None


def order_of(*, swap_words: bool, swap_bytes: bool) -> WordOrder:
    """The order on the wire, from what is the other way round."""
    if swap_words:
        return WordOrder.DCBA if swap_bytes else WordOrder.CDAB
    return WordOrder.BADC if swap_bytes else WordOrder.ABCD
