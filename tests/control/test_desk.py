"""Requests to read and write registers over the command socket: understood or refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.control.commands import Refused
from grug.control.desk import PATIENCE_S, parse_read, parse_write
from grug.messages import GetRegisters, SetRegisters

WRITE: dict[str, Any] = {
    "command": "write",
    "device": "solis1",
    "values": {"mode": 3, "limit": 20.5},
    "who": "cli",
    "why": "cheap",
}


def test_a_write_is_understood() -> None:
    wish = parse_write(WRITE | {"masks": {"mode": 1}, "dry_run": True, "ordered": True}, 100.0)
    assert isinstance(wish, SetRegisters)
    assert wish.values == (("mode", 3), ("limit", 20.5))
    assert wish.masks == (("mode", 1),)
    assert (wish.deadline_s, wish.may_guarded, wish.is_forced) == (100.0 + PATIENCE_S, True, False)
    assert (wish.is_dry_run, wish.is_ordered) == (True, True)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"why": " "}, "who asks, and why, are needed"),
        ({"who": ""}, "who asks"),
        ({"why": "x" * 201}, "at most 200 characters"),
        ({"values": {}}, "between 1 and 100"),
        ({"masks": {"far": 1}}, "a mask is for a register whose value is given"),
        ({"valeus": {}}, "valeus"),
        ({"device": 3}, "device"),
        ({"values": {"mode": None}}, "values"),
        ({"values": {"mode": 1 << 64}}, "more than 64 bits"),
    ],
)
def test_a_write_that_makes_no_sense_is_refused(change: dict[str, Any], text: str) -> None:
    wish = parse_write(WRITE | change, 0.0)
    assert isinstance(wish, Refused)
    assert text in wish.reason


def test_reads_are_understood_or_refused() -> None:
    request = {"command": "read", "device": "solis1", "registers": ["mode"], "who": "cli"}
    assert isinstance(parse_read(request, 0.0), GetRegisters)
    assert isinstance(parse_read(request | {"registers": "mode"}, 0.0), Refused)
    assert isinstance(parse_read(request | {"registers": ["a"] * 101}, 0.0), Refused)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*WRITE, "masks", "registers"]), _JSON))
def test_no_request_breaks_the_desk(request: dict[str, Any]) -> None:
    assert isinstance(parse_write(request, 0.0), SetRegisters | Refused)
    assert isinstance(parse_read(request, 0.0), GetRegisters | Refused)
