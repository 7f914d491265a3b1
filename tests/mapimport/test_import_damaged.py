"""No text, however damaged, does anything else than give a map or say what is wrong."""

from __future__ import annotations

import contextlib
import json

import pytest
import test_import_json
import test_import_telegraf
import test_import_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from grug.errors import MapError
from grug.mapimport.guess import Format, import_text
from grug.mapimport.writer import make_map

SAMPLES = {
    Format.HOME_ASSISTANT: test_import_yaml.HOUSE,
    Format.SOLARMAN: test_import_yaml.INVERTER,
    Format.TELEGRAF: test_import_telegraf.REGISTER + test_import_telegraf.REQUEST,
    Format.WIRENBOARD: test_import_json.TEMPLATE,
    Format.SUNSPEC: json.dumps(test_import_json.MODEL, indent=1),
    Format.SEED: (
        "function,addr,addr_end,type,unit,name,name_for_id,usertype,decimals,description\n"
        '4,1,2,U32,"0,1V",a b,,float,1,"BIT0 x"\n'
        '3,7,,u16,,z,,bitfield,,"BIT0 x 0-Yes 1-No"\n'
    ),
    Format.TABLE: (
        "Address,Name,Type,Unit,Scale\n0x10,a,U16,V,0.1\n40001-40002,b,,W,10\n,c,,,\n4,d,STR,,/10\n"
    ),
}

PIECES = st.sampled_from(
    [
        *(
            "0",
            "-1",
            "99999999",
            "null",
            "[]",
            "{}",
            '""',
            "x",
            ":",
            "\n",
            "  ",
            ",",
            "[",
            "}",
            '"',
        ),
        *("0x", "1e999", ".nan", "true", "\x00", "é", "-", "1:2", "~", "!!int x", "&a", "*a"),
        *("<<: *a", "9" * 5000, "0x" + "f" * 9000, "1e" + "9" * 30, "- ", "#", "|", ";"),
    ]
)
CUTS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 20), PIECES), max_size=4)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.sampled_from(list(SAMPLES)), CUTS, st.booleans())
def test_a_damaged_source_gives_a_map_or_says_what_is_wrong(
    style: Format, cuts: list[tuple[int, int, str]], skip_bad: bool
) -> None:
    text = SAMPLES[style]
    for position, length, piece in cuts:
        start = position % (len(text) + 1)
        text = text[:start] + piece + text[start + length :]
    with contextlib.suppress(MapError):
        imported = import_text(text, "source", style)
        made = make_map("device", imported, with_sidecar=True, skip_bad=skip_bad)
        assert made.register_map.registers
