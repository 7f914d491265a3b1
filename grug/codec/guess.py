"""What a few words may mean: every kind in every order, and which of it is plausible.

Plausible is a guess from experience with energy devices, for a person who stares at a dump:
readings are small numbers far from the ends of their kind, the usual order is likelier than the
unusual ones, and text is made of letters and digits.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from grug.codec.block import BlockDecoder
from grug.codec.registers import Kind, Register, WordOrder
from grug.model import Quality, Span, Table, Value

WORDS_MAX = 125
"""As many as one read gives. Source: MODBUS Application Protocol V1.1b3, 6.3."""

SMALL_BITS = {1: 15, 2: 28, 4: 48}
"""By words: a plausible whole number has at most so many bits. 28 bits are an energy counter of
268 MWh in Wh; 48 bits one in mWh."""
SMALL_BITS_IN_ROW = {1: 14, 2: 24, 4: 48}
"""The same for each of several numbers; from 2.0 up an f32 begins with the word 0x4000."""
NEGATIVE_BITS = {1: 15, 2: 24, 4: 40}
NEGATIVE_BITS_IN_ROW = {1: 13, 2: 24, 4: 40}
"""The same for numbers of which one is negative: what goes below zero is power, not energy."""
SWAPPED_BITS = 12
"""The same for a single word with its bytes swapped, which hardly any device does."""

FLOAT_MIN, FLOAT_MAX = 1e-4, 1e9
TEXT_MIN = 3
"""Fewer letters and digits may be chance."""
TEXT_SURE_WORDS = 3
"""So many words that are nothing but text are hardly anything else."""
YEARS = ("2015", "2045")

_USUAL = (WordOrder.ABCD, WordOrder.CDAB)
_WORD_CHARACTERS = frozenset(string.ascii_letters + string.digits)
_TEXT_CHARACTERS = _WORD_CHARACTERS | frozenset(" -_./:,+()#")
_NO_VALUE = frozenset({0xFFFF, 0x7FFF, 0x8000})


@dataclass(frozen=True, slots=True)
class Guess:
    """One way to read the words."""

    kind: Kind
    order: WordOrder
    values: tuple[Value | None, ...]
    """As many as fit, from the first word on; None for what is none of its kind."""
    is_plausible: bool
    note: str = ""


def words_of(texts: Iterable[str]) -> tuple[int, ...]:
    """Understand words as a person types or pastes them.

    Args:
        texts: each a word: ``0x4366``, ``4366h``, ``17254``, ``4366``; or several in one, as
            ``4366199A``. Bare ones are hexadecimal if any of them has a letter, begins with a zero
            or is too long, and decimal otherwise.

    Returns:
        Numbers 0..65535.

    Raises:
        ValueError: with all that are no words.
    """
    bare = [text for text in texts for text in text.replace(",", " ").split()]
    is_hex = any(map(_looks_hexadecimal, bare))
    words: list[int] = []
    problems: list[str] = []
    for text in bare:
        try:
            words += _words_in(text, is_hex)
        except ValueError as error:
            problems.append(str(error))
    if not problems and not 1 <= len(words) <= WORDS_MAX:
        problems.append(f"{len(words)} words; 1 to {WORDS_MAX} can be decoded")
    if problems:
        raise ValueError("\n".join(problems))
    return tuple(words)


def _looks_hexadecimal(text: str) -> bool:
    if _is_marked(text):
        return False
    is_padded = text.startswith("0") and len(text) == 4
    return is_padded or len(text) > 5 or any(each in "abcdefABCDEF" for each in text)


def _is_marked(text: str) -> bool:
    return text[:2].lower() == "0x" or text[-1:].lower() == "h"


def _words_in(text: str, is_hex: bool) -> list[int]:
    digits = text
    if _is_marked(text):
        digits = text[2:] if text[:2].lower() == "0x" else text[:-1]
        is_hex = True
    known = string.hexdigits if is_hex else string.digits
    if not digits or any(each not in known for each in digits):
        what = "hexadecimal" if is_hex else "decimal"
        raise ValueError(f"{text!r} is no {what} word")
    if not is_hex:
        if int(digits) > 0xFFFF:
            raise ValueError(f"{text!r} is more than 65535, the most that a word holds")
        return [int(digits)]
    if len(digits) > 4 and len(digits) % 4:
        raise ValueError(f"{text!r} is not whole words of four hexadecimal digits each")
    return [int(digits[at : at + 4], 16) for at in range(0, len(digits), 4)]


def guesses_of(words: Sequence[int]) -> tuple[Guess, ...]:
    """Read the words as every kind in every order that makes a difference.

    Args:
        words: 0..65535 each.

    Returns:
        Guesses by kind, as ``Kind`` has them; those that take more words than there are left out.
    """
    guesses: list[Guess] = []
    for kind in Kind:
        length = kind.words or len(words)
        if kind is not Kind.BOOL and length <= len(words):
            guesses += _judged(kind, words, [_guess(kind, order, words) for order in _orders(kind)])
    if len(words) < TEXT_SURE_WORDS:
        return tuple(guesses)
    is_text = any(guess.is_plausible for guess in guesses if guess.kind is Kind.TEXT)
    return tuple(
        replace(guess, is_plausible=False) if is_text and guess.kind is not Kind.TEXT else guess
        for guess in guesses
    )


def _orders(kind: Kind) -> tuple[WordOrder, ...]:
    """The orders that differ: a word and a row of bytes know only that of their bytes."""
    if kind.words == 1 or kind.is_bytes:
        return WordOrder.ABCD, WordOrder.BADC
    return tuple(WordOrder)


def _guess(kind: Kind, order: WordOrder, words: Sequence[int]) -> Guess:
    length = kind.words or len(words)
    count = len(words) // length
    registers = [
        Register(f"value_{at}", Table.HOLDING_REGISTER, at * length, kind, length, order)
        for at in range(count)
    ]
    run = Span(Table.HOLDING_REGISTER, 0, count * length)
    block = b"".join(word.to_bytes(2, "big") for word in words[: run.count])
    values, qualities = BlockDecoder(registers, (run,)).decode((block,))
    good = tuple(
        value if not qualities or quality is Quality.GOOD else None
        for value, quality in zip(values, qualities or values, strict=True)
    )
    over = len(words) - run.count
    note = f"{over} word{'s' if over > 1 else ''} left over" if over else ""
    return Guess(kind, order, good, False, note)


def _judged(kind: Kind, words: Sequence[int], guesses: list[Guess]) -> list[Guess]:
    """Mark the plausible ones; of numbers, swapped bytes only where no usual order is plausible."""
    marks = [_is_likely(guess, words) for guess in guesses]
    is_usual = any(
        mark and guess.order in _USUAL for mark, guess in zip(marks, guesses, strict=True)
    )
    return [
        replace(
            guess,
            is_plausible=mark and (guess.order in _USUAL or not is_usual or kind is Kind.TEXT),
            note=guess.note or _note_of(kind, guess, words),
        )
        for mark, guess in zip(marks, guesses, strict=True)
    ]


def _is_likely(guess: Guess, words: Sequence[int]) -> bool:
    kind, values = guess.kind, guess.values
    if any(value is None for value in values) or guess.note:
        return False
    if kind.is_float:
        return all(_is_likely_float(value) for value in values)
    if kind.is_integer:
        return _are_likely_integers(guess, kind.words, kind.value.startswith("s"))
    if kind is Kind.TEXT:
        return _is_likely_text(str(values[0]))
    if kind.is_bcd:  # That digits alone come up in many words is chance, unless there are A to F.
        return kind.words > 1 and all(word > 0x0999 for word in words)
    is_date = all(YEARS[0] <= str(value)[:4] <= YEARS[1] for value in values)
    return is_date and (guess.order in _USUAL or kind.is_bytes)


def _is_likely_float(value: Value | None) -> bool:
    assert isinstance(value, float), "a float kind gives floats"
    return value == 0 or (math.isfinite(value) and FLOAT_MIN <= abs(value) <= FLOAT_MAX)


def _are_likely_integers(guess: Guess, words: int, is_signed: bool) -> bool:
    numbers = [value for value in guess.values if isinstance(value, int)]
    is_swapped = words == 1 and guess.order is WordOrder.BADC
    if is_signed and (is_swapped or min(numbers) >= 0):
        return False  # The same as unsigned, which says it better; or too far fetched.
    is_row = len(numbers) > 1
    if is_swapped:
        bits = SWAPPED_BITS
    elif is_signed:
        bits = (NEGATIVE_BITS_IN_ROW if is_row else NEGATIVE_BITS)[words]
    else:
        bits = (SMALL_BITS_IN_ROW if is_row else SMALL_BITS)[words]
    limit = 1 << bits
    return all(-limit < number < limit for number in numbers)


def _is_likely_text(text: str) -> bool:
    count = sum(each in _WORD_CHARACTERS for each in text)
    return count >= TEXT_MIN and all(each in _TEXT_CHARACTERS for each in text)


def _note_of(kind: Kind, guess: Guess, words: Sequence[int]) -> str:
    """What a person should think of."""
    if kind is Kind.U16 and guess.order is WordOrder.ABCD and _NO_VALUE.intersection(words):
        return "0xFFFF, 0x7FFF and 0x8000 often say: no value"
    if kind is Kind.F32 and guess.order is WordOrder.ABCD and None in guess.values:
        return "not a number often says: no value"
    return ""
