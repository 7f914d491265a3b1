"""What is said of bytes that are no answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.errors import ExceptionReply
from grug.model import Span, Table
from grug.protocol.client import ReadTransaction, WriteTransaction
from grug.protocol.rtu import with_crc

HOLDING = Table.HOLDING_REGISTER
GOOD = with_crc(bytes((3, 3, 4, 1, 2, 3, 4)))


@pytest.mark.parametrize(
    ("came", "said"),
    [
        (with_crc(bytes((4, 3, 4, 1, 2, 3, 4))), "a frame of unit 4, but unit 3 was asked"),
        (with_crc(bytes((7, 0x83, 2))), "a frame of unit 7, but unit 3 was asked"),
        (
            with_crc(bytes((3, 4, 4, 1, 2, 3, 4))),
            "unit 3 speaks of function 4, but was asked for 3",
        ),
        (
            with_crc(bytes((3, 3, 2, 1, 2))),
            "unit 3 answers another request",
        ),
        (GOOD[:6], "it begins like one, but is cut off or damaged"),
        (GOOD[:4] + b"\0" + GOOD[5:], "it begins like one, but is cut off or damaged"),
        (b"\xfe\x80\x00", "bytes that are no frame"),
    ],
)
def test_it_is_said_what_came_in_place_of_an_answer(came: bytes, said: str) -> None:
    asked = ReadTransaction(3, Span(HOLDING, 0, 2))
    for echo in (b"", asked.adu):  # Our own request is no news.
        transaction = ReadTransaction(3, Span(HOLDING, 0, 2))
        assert transaction.receive(echo + came) is None
        assert transaction.has_received
        assert transaction.what_came == f"what came was no answer: {said}"


def test_another_unit_is_found_among_noise() -> None:
    asked = WriteTransaction(1, HOLDING, 5, b"\0\7")
    noise = b"\x00\xff\x01"
    assert asked.receive(noise + with_crc(bytes((2, 6, 0, 5, 0, 7)))) is None
    assert "a frame of unit 2, but unit 1 was asked" in asked.what_came


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_whatever_comes_something_short_is_said(pieces: list[bytes]) -> None:
    asked = ReadTransaction(3, Span(HOLDING, 0, 2))
    for piece in pieces:
        try:
            if asked.receive(piece) is not None:
                return
        except ExceptionReply:  # By chance.
            return
    assert asked.what_came.startswith("what came was no answer: ")
    assert len(asked.what_came) < 120
