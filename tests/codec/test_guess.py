"""What a few words may mean."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.codec.block import BlockDecoder, encode
from grug.codec.guess import WORDS_MAX, guesses_of, words_of
from grug.codec.registers import Kind, Register, WordOrder
from grug.model import Table

WORDS = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=12)


def starred(*texts: str) -> dict[tuple[str, str], tuple[object, ...]]:
    """The plausible guesses."""
    return {
        (guess.kind.value, guess.order.value): guess.values
        for guess in guesses_of(words_of(texts))
        if guess.is_plausible
    }


# Understanding what a person typed


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["0x4366", "0x199a"], [0x4366, 0x199A]),
        (["4366", "199A"], [0x4366, 0x199A]),
        (["4366199A"], [0x4366, 0x199A]),
        (["4366199a00010002"], [0x4366, 0x199A, 1, 2]),
        (["4366h", "12"], [0x4366, 12]),
        (["17254", "6554"], [17254, 6554]),
        (["0012", "0034"], [0x12, 0x34]),
        (["4366 199A"], [0x4366, 0x199A]),
        (["17254,6554"], [17254, 6554]),
        (["0"], [0]),
        (["65535"], [65535]),
    ],
)
def test_words_are_understood_as_they_are_pasted(texts: list[str], words: list[int]) -> None:
    assert list(words_of(texts)) == words


@given(WORDS)
def test_words_come_back_however_they_are_written(words: list[int]) -> None:
    assert list(words_of(map(str, words))) == words
    assert list(words_of(f"0x{word:x}" for word in words)) == words
    assert list(words_of(["".join(f"{word:04x}" for word in words) + "h"])) == words


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (["700001", "1", "2"], "'700001' is not whole words of four hexadecimal digits each"),
        (["65536"], "'65536' is more than 65535"),
        (["0x"], "'0x' is no hexadecimal word"),
        (["vier"], "'vier' is no"),
        (["12345678a"], "'12345678a' is not whole words"),
        (["-1"], "'-1' is no decimal word"),
        ([], "0 words"),
        (["1"] * (WORDS_MAX + 1), "126 words"),
    ],
)
def test_what_is_no_word_is_named(texts: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        words_of(texts)


def test_all_that_are_no_words_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"'x'.*\n.*'y'"):
        words_of(["x", "1", "y"])


# Reading them


@given(WORDS)
def test_every_guess_is_what_the_codec_reads(words: list[int]) -> None:
    for guess in guesses_of(words):
        length = guess.kind.words or len(words)
        for at, value in enumerate(guess.values):
            register = Register("x", Table.HOLDING_REGISTER, 0, guess.kind, length, guess.order)
            chunk = words[at * length : (at + 1) * length]
            block = struct.pack(f">{length}H", *chunk)
            (expected,), qualities = BlockDecoder((register,), (register.span,)).decode((block,))
            assert value == (None if qualities else expected)


@given(WORDS)
def test_every_kind_that_fits_is_there_in_every_order_that_differs(words: list[int]) -> None:
    guesses = guesses_of(words)
    kinds = {kind for kind in Kind if kind is not Kind.BOOL and kind.words <= len(words)}
    assert {guess.kind for guess in guesses} == kinds
    keys = [(guess.kind, guess.order) for guess in guesses]
    assert len(set(keys)) == len(keys)
    for kind in (Kind.U32, Kind.F32):
        if len(words) > 1:
            assert {order for each, order in keys if each is kind} == set(WordOrder)


@given(
    st.sampled_from([Kind.F32, Kind.F64]),
    st.sampled_from(["ABCD", "CDAB"]),
    st.integers(1, 9_999_999).map(lambda number: number / 100),
)
def test_an_ordinary_float_is_found_in_the_usual_orders(
    kind: Kind, order: str, value: float
) -> None:
    register = Register("x", Table.HOLDING_REGISTER, 0, kind, order=WordOrder(order))
    block = encode(register, value)
    found = starred("0x" + block.hex())
    assert (kind.value, order) in found


@pytest.mark.parametrize(
    ("texts", "best"),
    [
        (["4366", "199A"], {("f32", "ABCD"): (230.1,)}),
        (["199A", "4366"], {("f32", "CDAB"): (230.1,)}),
        (["406c", "c333", "3333", "3333"], {("f64", "ABCD"): (230.1,)}),
        (["2301"], {("u16", "ABCD"): (2301,)}),
        (["FDA8"], {("s16", "ABCD"): (-600,)}),
        (["D687", "0012"], {("u32", "CDAB"): (1234567,)}),
        (["ffff", "fda8"], {("s16", "ABCD"): (-1, -600), ("s32", "ABCD"): (-600,)}),
    ],
)
def test_the_likely_meaning_is_marked_and_hardly_another(
    texts: list[str], best: dict[tuple[str, str], tuple[object, ...]]
) -> None:
    assert starred(*texts) == best


@pytest.mark.parametrize("texts", ["41646c6572203132", "6441656c20723231"])
def test_text_is_nothing_else_and_its_bytes_may_be_swapped(texts: str) -> None:
    found = starred(texts)
    assert {kind for kind, _ in found} == {"text"}
    assert ("Adler 12",) in found.values()


def test_a_clock_is_recognised() -> None:
    found = starred("07E8", "0003", "0005", "000C", "001E", "0000")
    assert found["clock6", "ABCD"] == ("2024-03-05T12:30:00",)


def test_swapped_bytes_are_only_suspected_when_the_usual_order_makes_no_sense() -> None:
    assert ("u16", "BADC") in starred("E600")
    assert ("u16", "BADC") not in starred("00E6")


def test_words_left_over_are_mentioned_and_not_plausible() -> None:
    (guess, *_) = [each for each in guesses_of((1, 2, 3)) if each.kind is Kind.U32]
    assert (guess.values, guess.is_plausible, guess.note) == ((65538,), False, "1 word left over")


def test_marks_for_no_value_are_mentioned() -> None:
    notes = {guess.note for guess in guesses_of((0x8000,))}
    assert any("no value" in note for note in notes)
    notes = {guess.note for guess in guesses_of((0x7FC0, 0))}
    assert "not a number often says: no value" in notes
