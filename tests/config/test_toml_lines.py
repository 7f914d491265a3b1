"""The locator names the line where a person would look."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.config.toml_lines import KeyPath, line_of_syntax_error, locate

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "house.toml"


def paths_of(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    found: set[KeyPath] = {path} if path else set()
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, child in items:
        found |= paths_of(child, (*path, key))
    return found


def test_keys_and_headers_have_their_own_lines() -> None:
    lines = locate(
        '# a house\n\n[line.grid]\nport = "x"\n\n[line.evse] # the car\nbaudrate = 9600\n'
    )
    assert lines.line_of(("line", "grid")) == 3
    assert lines.line_of(("line", "grid", "port")) == 4
    assert lines.line_of(("line", "evse", "baudrate")) == 7


def test_a_table_declared_after_its_children_is_at_its_own_header() -> None:
    lines = locate("[a.b]\nx = 1\n[a]\ny = 2\n")
    assert lines.line_of(("a",)) == 3
    assert lines.line_of(("a", "b")) == 1


def test_elements_of_arrays_of_tables_are_told_apart() -> None:
    lines = locate("[[d.poll]]\nx = 1\n\n[[d.poll]]\nx = 2\n[d.poll.sub]\ny = 3\n")
    assert lines.line_of(("d", "poll", 0, "x")) == 2
    assert lines.line_of(("d", "poll", 1)) == 4
    assert lines.line_of(("d", "poll", 1, "sub", "y")) == 7


def test_elements_of_an_array_over_several_lines_have_their_own_lines() -> None:
    lines = locate('names = [\n  "a", # first\n  "b",\n\n  "c", ]\n')
    assert [lines.line_of(("names", i)) for i in range(3)] == [2, 3, 5]


def test_inline_tables_and_dotted_keys_are_entered() -> None:
    lines = locate('a.b . "c d" = 1\n[t]\nu = [{x = 1}, {x = {y = 2}}]\n')
    assert lines.line_of(("a", "b", "c d")) == 1
    assert lines.line_of(("t", "u", 1, "x", "y")) == 3


def test_strings_that_look_like_toml_are_passed_over() -> None:
    text = 'a = """\n[line]\nx = 1\\"""\n"""\nb = \'\'\'\n# ]\n\'\'\'\n'
    text += '"c#" = "]"\nd = 1 # d = 2\ne = 3\n'
    lines = locate(text)
    assert tomllib.loads(text).keys() == {"a", "b", "c#", "d", "e"}
    assert [lines.line_of((key,)) for key in ("a", "b", "c#", "d", "e")] == [1, 5, 8, 9, 10]


def test_an_absent_key_is_at_the_table_around_it() -> None:
    lines = locate("\n[line.grid]\nx = 1\n")
    assert lines.line_of(("line", "grid", "port")) == 2
    assert lines.line_of(("nowhere",)) == 0
    assert ("line", "grid", "x") in lines
    assert ("line", "grid", "port") not in lines


def test_every_key_of_the_example_is_found() -> None:
    text = EXAMPLE.read_text()
    lines = locate(text)
    assert all(path in lines for path in paths_of(tomllib.loads(text)))


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb = = 2\n", 2), ("a = 1\na = 2\n", 2), ("[x]\n\n\ny = [1,\n", 4)],
)
def test_a_syntax_error_has_its_line(text: str, line: int) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    assert line_of_syntax_error(text, caught.value) == line


KEYS = st.sampled_from(["a", "b", "c-d", '"e.f"', "'g h'", "1"])
LEAVES = st.sampled_from(
    ["1", "-1.5e3", "true", '"x"', "'#'", '"]\\""', '"""\n}\n"""', "1979-05-27T07:32:00Z", "''''''"]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[\n" + ", # x\n".join(items) + "\n]"),
        st.dictionaries(KEYS, inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{k} = {v}" for k, v in items.items()) + "}"
        ),
    ),
    max_leaves=6,
)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.lists(KEYS, min_size=1, max_size=3), VALUES).map(
                lambda pair: f"{'.'.join(pair[0])} = {pair[1]}"
            ),
            st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[{' . '.join(keys)}]"),
            st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: f"[[ {'.'.join(keys)} ]]"),
            st.just("# [x] = {"),
        ),
        max_size=8,
    )
)
def test_whatever_tomllib_reads_the_locator_finds(statements: list[str]) -> None:
    kept: list[str] = []
    for statement in statements:  # Leave out what clashes with what is there already.
        try:
            tomllib.loads("\n".join([*kept, statement]))
        except tomllib.TOMLDecodeError:
            continue
        kept.append(statement)
    text = "\n".join(kept)
    lines = locate(text)
    for path in paths_of(tomllib.loads(text)):
        assert path in lines
        first = text.splitlines()[lines.line_of(path) - 1]
        if isinstance(path[-1], str):
            assert path[-1] in first
