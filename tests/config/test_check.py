"""A bad house.toml is refused with everything that is wrong, where it is, and what was meant."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.codec.registers import Access, DeviceFacts, Kind, Register, RegisterMap
from grug.config.build import parse_duration
from grug.config.check import check_house, parse_house
from grug.config.loads import line_loads, read_cost, unit_loads, wire_timing
from grug.config.types import HouseConfig
from grug.errors import ConfigError, Problem
from grug.model import Priority, Table
from grug.planner.schedule import line_bound
from grug.transport.maps import load_map, map_models

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = (ROOT / "examples" / "house.toml").read_text()


ACCESS = {"current_limit": Access.FREE}


def small_map(model: str, *registers: tuple[str, str], words_max: int = 125) -> RegisterMap:
    return RegisterMap(
        model,
        {
            name: Register(
                name,
                Table.INPUT_REGISTER,
                2 * i,
                Kind.F32,
                unit=unit,
                access=ACCESS.get(name, Access.READ),
            )
            for i, (name, unit) in enumerate(registers)
        },
        DeviceFacts(words_max=words_max),
    )


MAPS: Mapping[str, RegisterMap] = {
    "meter": small_map("meter", ("total_power", "W"), ("voltage", "V"), ("active_power", "W")),
    "inverter": small_map("inverter", ("pv_power", "W"), ("battery_power", "W")),
    "charger": small_map("charger", ("current", "A"), ("current_limit", "A")),
    "large": small_map("large", *((f"r{i}", "W") for i in range(100))),
}

HOUSE = """\
[line.grid]
port = "/dev/serial/by-id/grid"
baudrate = 19200

[line.com]
port = "/dev/serial/by-id/com"

[line.fake]
port = "/dev/serial/by-id/fake"

[device.grid]
line = "grid"
unit = 1
map = "meter"
poll = [{ every = "200ms", registers = ["total_power", "voltage"] }]

[device.sun]
line = "com"
unit = 7
map = "inverter"

[[device.sun.poll]]
every = 1
priority = "background"
registers = [
    "pv_power",
    "battery_power",
]

[device.car]
line = "com"
unit = 8
map = "charger"
poll = [{ every = "1s", registers = ["current"] }]

[grid]
device = "grid"

[fakemeter.fake_sun]
line = "fake"
unit = 7
profile = "meter"

[inverter.sun]
device = "sun"
fakemeter = "fake_sun"

[evse.garage]
device = "car"
limit = 10
"""


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_house(text, "house.toml", MAPS)
    return caught.value.problems


def changed(old: str, new: str) -> str:
    assert HOUSE.count(old) == 1, old
    return HOUSE.replace(old, new)


def line_with(text: str, part: str) -> int:
    lines = [number for number, line in enumerate(text.splitlines(), 1) if part in line]
    assert len(lines) == 1, part
    return lines[0]


def test_a_good_house_has_its_values_and_defaults() -> None:
    checked = check_house(HOUSE, "house.toml", MAPS)
    house = checked.house
    assert checked.warnings == ()
    assert house.line["grid"].baudrate == 19200
    assert house.line["com"].baudrate == 9600
    assert house.device["grid"].poll[0].every == pytest.approx(0.2)
    assert house.device["sun"].poll[0].priority is Priority.BACKGROUND
    assert house.device["sun"].poll[0].registers == ("pv_power", "battery_power")
    assert house.fakemeter["fake_sun"].max_age == 1.5
    assert house.grid is not None
    assert house.grid.register == "total_power"
    assert house.evse["garage"].on_stop is None
    assert house.ship.to == ""


def test_a_house_crosses_to_the_other_process_as_json() -> None:
    house = parse_house(HOUSE, "house.toml", MAPS)
    assert msgspec.json.decode(msgspec.json.encode(house), type=HouseConfig) == house


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = (
        HOUSE.replace("baudrate = 19200", "baud = 19200")
        .replace('"total_power", "voltage"', '"total_power", "voltag"')
        .replace("/dev/serial/by-id/fake", "/dev/serial/by-id/com")
        .replace("unit = 8", "unit = 7")
        .replace('every = "1s"', 'every = "1 fortnight"')
        .replace("limit = 10", "limit = 40")
    )
    problems = problems_of(text)
    blamed = ("baud =", "[line.fake]", '"voltag"', "[device.car]", "fortnight", "limit = 40")
    below = (0, 1, 0, 2, 0, 0)
    assert [problem.line for problem in problems] == [
        line_with(text, part) + more for part, more in zip(blamed, below, strict=True)
    ]
    assert all(problem.file == "house.toml" for problem in problems)
    assert "did you mean 'baudrate'?" in problems[0].text
    assert "[line.com] (line 6)" in problems[1].text
    assert "did you mean 'voltage'?" in problems[2].text
    assert "is device 'sun' already (line 19)" in problems[3].text
    assert "'10s'" in problems[4].text
    assert "0..32" in problems[5].text


FAST_CAR = 'every = "150ms", registers = ["current"] }'

# One wrong thing each: what to change, the line that is blamed, words of the complaint.
WRONG = {
    "unknown table": ("[grid]", "[gird]", "[gird]", "did you mean 'grid'?"),
    "unknown key": ('profile = "meter"', 'profil = "meter"', "profil", "mean 'profile'?"),
    "other program's key": ("unit = 8", "slave = 8", "slave", "did you mean 'unit'?"),
    "missing key": ("unit = 8\n", "", "[device.car]", "[device.car] lacks 'unit'"),
    "missing key of a poll": (
        "every = 1\n",
        "",
        "[[device.sun.poll]]",
        "[[device.sun.poll]] lacks 'every'",
    ),
    "text for a number": ("unit = 8", 'unit = "8"', 'unit = "8"', "a whole number"),
    "flag for a number": ("limit = 10", "limit = true", "limit = true", "a number, not true"),
    "not a finite number": ("limit = 10", "limit = nan", "limit = nan", "a number"),
    "number for a text": ('device = "car"', "device = 1", "device = 1", "text in quotes"),
    "text for a list": (
        'registers = ["current"]',
        'registers = "current"',
        'registers = "current"',
        "a list",
    ),
    "list for a table": ("[grid]\n", "[[grid]]\n", "[[grid]]", "must be a table"),
    "number in a list of names": ('"pv_power",', "33057,", "33057", "element 1 of 'registers'"),
    "bad duration": ("every = 1\n", 'every = "1 day"\n', "1 day", "'200ms'"),
    "no time at all": ("every = 1\n", "every = 0\n", "every = 0", "longer than 0 s"),
    "text for a flag": (
        'priority = "background"',
        'snapshot = "yes"',
        "snapshot",
        "'snapshot' must be true or false, not 'yes'",
    ),
    "bad priority": ('"background"', '"write"', "priority", "'control', 'normal', 'background'"),
    "odd baudrate": ("19200", "19000", "19000", "did you mean 19200?"),
    "seven data bits": (
        "baudrate = 19200",
        'baudrate = 19200\nframing = "7E1"',
        "framing",
        "did you mean '8E1'?",
    ),
    "no framing": (
        "baudrate = 19200",
        'baudrate = 19200\nframing = "even"',
        "framing",
        "does not carry",
    ),
    "no port": ("/dev/serial/by-id/com", "ttyUSB0", "ttyUSB0", "/dev/serial/by-id/"),
    "line over UDP": ("/dev/serial/by-id/com", "udp://box:502", "udp://", "tcp:// or rtu+tcp://"),
    "TCP port too high": ("/dev/serial/by-id/com", "tcp://box:99999", "99999", "no such TCP port"),
    "fake meter on Modbus TCP": ("/dev/serial/by-id/fake", "tcp://box", "tcp://box", "rtu+tcp://"),
    "negative switch gap": ("[line.com]", "[line.com]\nswitch_gap = -1", "switch_gap", "negative"),
    "RS485 direction over TCP": (
        'port = "/dev/serial/by-id/com"',
        'port = "tcp://box"\nrs485 = "rts"',
        "rs485",
        "switches its own line",
    ),
    "unknown RS485 direction": ("[line.com]", '[line.com]\nrs485 = "rts-lo"', "rs485", "rts-low"),
    "unknown map": ('"charger"', '"chargr"', "chargr", "did you mean 'charger'?"),
    "unknown register": ('"battery_power"', '"batery_power"', "batery", "'battery_power'"),
    "no registers": ('registers = ["current"]', "registers = []", "registers = []", "no register"),
    "unknown line": ('line = "fake"', 'line = "fakes"', "fakes", "did you mean 'fake'?"),
    "unknown device": ('device = "car"', 'device = "cat"', '"cat"', "did you mean 'car'?"),
    "unknown fake meter": (
        'fakemeter = "fake_sun"',
        'fakemeter = "fake"',
        'fakemeter = "fake"',
        "did you mean 'fake_sun'?",
    ),
    "unknown profile": ('profile = "meter"', 'profile = "metre"', "metre", "'meter'"),
    "profile that cannot steer": (
        'profile = "meter"',
        'profile = "charger"',
        'profile = "charger"',
        "'active_power'",
    ),
    "charger without a limit": (
        'device = "car"',
        'device  = "sun"',
        "device  =",
        "'current_limit'",
    ),
    "unit out of range": ("unit = 8", "unit = 256", "unit = 256", "1..247"),
    "broadcast unit": ("unit = 8", "unit = 0", "unit = 0", "1..247"),
    "no share": (
        'fakemeter = "fake_sun"',
        'fakemeter = "fake_sun"\nshare = 0',
        "share",
        "more than 0",
    ),
    "charger limit": ("limit = 10", "limit = 33", "limit = 33", "0..32"),
    "grid not in W": (
        'device = "grid"',
        'device = "grid"\nregister = "voltage"',
        'register = "voltage"',
        "no power in W",
    ),
    "grid not polled": (
        '"total_power", "voltage"]',
        '"voltage"]',
        "[grid]",
        "no poll of device",
    ),
    "grid polled too slowly": (
        'every = "200ms"',
        "every = 2",
        "[fakemeter.fake_sun]",
        "every 2 s",
    ),
    "no grid": ('[grid]\ndevice = "grid"\n', "", "[fakemeter.fake_sun]", "need [grid]"),
    "name with a slash": ("[device.car]", '[device."a/b"]', '"a/b"', "letters, digits"),
    "fake meter on a line of devices": (
        'line = "fake"',
        'line = "com"',
        "[line.com]",
        "a line of its own",
    ),
    "offset beyond its limit": (
        "limit = 10",
        "limit = 10\n[offset]\npower = -7000",
        "power = -7000",
        "6000 W",
    ),
    "no place to serve": (
        "limit = 10",
        'limit = 10\n[log]\nserve = "8765"\ntoken = "long enough for us"',
        'serve = "8765"',
        "0.0.0.0:8765",
    ),
    "a line whose units answer when nobody waits any more": (
        "baudrate = 19200",
        'turnaround = "300ms"',
        "300ms",
        "'turnaround' must be in 0..0.3 s, the line's 'timeout'",
    ),
    "a device that answers before it is asked": (
        "unit = 7",
        "unit = 7\nturnaround = -0.01",
        "turnaround = -0.01",
        "'turnaround' must be in 0..0.3 s",
    ),
    "a misspelt turnaround": (
        "unit = 8",
        'unit = 8\nturnarround = "30ms"',
        "turnarround",
        "did you mean 'turnaround'?",
    ),
    "a turnaround by another name": (
        "unit = 8",
        'unit = 8\nlatency = "30ms"',
        "latency",
        "did you mean 'turnaround'?",
    ),
    "a turnaround that is no time": (
        "unit = 8",
        'unit = 8\nturnaround = "30 ticks"',
        "30 ticks",
        "'turnaround' must be a duration",
    ),
    "serving without a secret": (
        "limit = 10",
        'limit = 10\n[log]\nserve = "[::]:8765"\ntoken = "short"',
        'token = "short"',
        "12 characters",
    ),
    "unknown database": (
        "limit = 10",
        'limit = 10\n[ship]\nto = "postgres://x"',
        "postgres",
        "'chdb:'",
    ),
}


@pytest.mark.parametrize(
    ("count", "more", "words"),
    [
        (62, "", ""),
        (63, "", "it has 126 words, and a read 125"),
        (20, "", ""),
        (40, FAST_CAR, "ms at 9600 baud, and the fastest poll of line 'com' leaves a read 75 ms"),
        (8, FAST_CAR, ""),
    ],
)
def test_a_snapshot_that_cannot_be_is_refused_with_the_numbers(
    count: int, more: str, words: str
) -> None:
    names = ", ".join(f'"r{number}"' for number in (0, count - 1))
    text = (
        HOUSE.replace('map = "inverter"', 'map = "large"')
        .replace('    "pv_power",\n    "battery_power",', names)
        .replace('priority = "background"', "snapshot = true")
        .replace(
            'every = "1s", registers = ["current"] }',
            more or 'every = "1s", registers = ["current"] }',
        )
    )
    if not words:
        house = parse_house(text, "house.toml", MAPS)
        assert [poll.snapshot for poll in house.device["sun"].poll] == [True]
        return
    (problem,) = problems_of(text)
    assert words in problem.text
    assert problem.line == line_with(text, "snapshot = true")


@pytest.mark.parametrize(("old", "new", "blamed", "words"), WRONG.values(), ids=WRONG.keys())
def test_each_mistake_is_blamed_on_its_line(old: str, new: str, blamed: str, words: str) -> None:
    text = changed(old, new) if HOUSE.count(old) == 1 else HOUSE.replace(old, new, 1)
    problems = problems_of(text)
    hits = [problem for problem in problems if words in problem.text]
    assert hits, problems
    assert hits[0].line == line_with(text, blamed)


def test_one_mistake_makes_one_complaint() -> None:
    for name, (old, new, _, _) in WRONG.items():
        if name in ("unknown table", "name with a slash", "missing key"):
            continue  # These take the ground from under others.
        assert len(problems_of(HOUSE.replace(old, new, 1))) <= 2, name


def test_text_that_is_not_toml_is_blamed_on_its_line() -> None:
    (problem,) = problems_of("[line.grid]\nport = /dev/ttyUSB0\n")
    assert problem.line == 2
    assert "TOML" in problem.text


def test_an_empty_file_lacks_lines_and_devices() -> None:
    problems = problems_of("")
    assert [problem.line for problem in problems] == [0, 0]
    assert problems[0].text == "there is no [line.NAME]"


def test_a_line_that_cannot_carry_its_polls_is_refused_with_the_numbers() -> None:
    names = ", ".join(f'"r{i}"' for i in range(100))
    text = HOUSE + (
        '[line.slow]\nport = "/dev/slow"\nbaudrate = 1200\n'
        '[device.large]\nline = "slow"\nunit = 1\nmap = "large"\n'
        f"poll = [{{ every = 1, registers = [{names}] }}]\n"
    )
    (problem,) = problems_of(text)
    assert problem.line == line_with(text, "poll = [{ every = 1,")
    assert (
        "need at least 370.8% of its time at 1200 baud, with 15 ms for each answer" in problem.text
    )
    assert "every = '4s' here, or baudrate = 4800" in problem.text
    for cure in (("every = 1,", "every = 4,"), ("baudrate = 1200", "baudrate = 4800")):
        assert parse_house(text.replace(*cure), "house.toml", MAPS)
    for short in (("every = 1,", "every = 3,"), ("baudrate = 1200", "baudrate = 2400")):
        (problem,) = problems_of(text.replace(*short))


def test_lines_may_be_reached_over_tcp() -> None:
    text = HOUSE.replace("/dev/serial/by-id/com", "tcp://gateway:1502").replace(
        "/dev/serial/by-id/fake", "rtu+tcp://192.168.1.7"
    )
    assert check_house(text, "house.toml", MAPS).warnings == ()


def test_things_that_work_but_surprise_are_warnings() -> None:
    text = (
        HOUSE.replace("/dev/serial/by-id/com", "/dev/ttyUSB0")
        .replace("unit = 8", "unit = 255")
        .replace('unit = 7\nprofile = "meter"', 'unit = 9\nprofile = "meter"\nmax_age = "10s"')
    )
    text += '[line.spare]\nport = "/dev/spare"\n'
    warnings = check_house(text, "house.toml", MAPS).warnings
    blamed = ("/dev/ttyUSB0", "unit = 255", "unit = 9", "max_age", "[line.spare]")
    assert [warning.line for warning in warnings] == [line_with(text, part) for part in blamed]
    assert "/dev/serial/by-id" in warnings[0].text


def test_reading_forty_words_at_9600_baud_takes_about_120_ms() -> None:
    line = parse_house(HOUSE, "house.toml", MAPS).line["com"]
    assert read_cost(line).read_s(Table.INPUT_REGISTER, 40) == pytest.approx(0.122, abs=0.003)


def test_a_device_s_turnaround_is_its_own_or_that_of_its_line() -> None:
    text = changed("unit = 8", 'unit = 8\nturnaround = "30ms"').replace(
        "[line.com]", "[line.com]\nturnaround = 0.02"
    )
    house = parse_house(text, "house.toml", MAPS)
    loads = {
        unit.name: unit.traits.turnaround_s
        for line in house.line
        for unit in unit_loads(house, MAPS, line)
    }
    assert loads == {"grid": 0.015, "sun": 0.02, "car": 0.03}
    before, after = (line_loads(parse_house(each, "", MAPS), MAPS) for each in (HOUSE, text))
    assert after["com"] - before["com"] == pytest.approx(0.005 + 0.015)  # One read a second each.


def test_a_nearly_full_line_is_a_warning_and_its_load_is_told() -> None:
    text = changed('every = "200ms"', 'every = "50ms"').replace("baudrate = 19200", "")
    checked = check_house(text, "house.toml", MAPS)
    assert 0.85 < checked.loads["grid"] < 1
    assert set(checked.loads) == {"grid", "com"}
    (warning,) = checked.warnings
    assert warning.line == line_with(text, "[line.grid]")


def test_no_plan_takes_less_than_the_bound() -> None:
    house = parse_house(HOUSE, "house.toml", MAPS)
    for name, load in line_loads(house, MAPS).items():
        units = unit_loads(house, MAPS, name)
        assert 0 < line_bound(wire_timing(house.line[name]), units) <= load + 1e-9


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [(2, 2.0), (0.5, 0.5), ("200ms", 0.2), ("10s", 10.0), ("5min", 300.0), ("2h", 7200.0)],
)
def test_durations_have_units(raw: object, seconds: float) -> None:
    assert parse_duration(raw) == pytest.approx(seconds)


@pytest.mark.parametrize("raw", ["", "10", "10 days", "-1s", "1h30", "s", True, None, [1], 1e400])
def test_other_things_are_no_durations(raw: object) -> None:
    assert parse_duration(raw) is None


VALUES = st.recursive(
    st.one_of(
        st.none().map(lambda _: 0),
        st.booleans(),
        st.integers(-10, 300),
        st.floats(),
        st.sampled_from(["grid", "meter", "total_power", "8N1", "1s", "chdb:", "/dev/x", ""]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["grid", "unit", "poll", "every", "x"]), inner, max_size=3),
    ),
    max_leaves=5,
)


def toml_of(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key} = {toml_of(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml_of, value)) + "]"
        case str():
            return f'"{value}"'
        case _:
            return str(value)


@given(st.lists(VALUES, min_size=4, max_size=4))
def test_whatever_the_file_says_it_is_a_house_or_refused(values: list[object]) -> None:
    keys = ("line.grid", "device.grid", "grid", "evse.garage")
    text = "\n".join(f"{key} = {toml_of(value)}" for key, value in zip(keys, values, strict=True))
    tomllib.loads(text)
    house: HouseConfig | None = None
    problems: tuple[Problem, ...] = ()
    try:
        house = parse_house(text, "house.toml", MAPS)
    except ConfigError as error:
        problems = error.problems
    assert (house is None) == bool(problems)
    assert all(problem.text for problem in problems)


@pytest.fixture(scope="module")
def shipped_maps() -> dict[str, RegisterMap]:
    return {model: load_map(model) for model in map_models()}


def test_the_example_house_is_good(shipped_maps: dict[str, RegisterMap]) -> None:
    checked = check_house(EXAMPLE, "examples/house.toml", shipped_maps)
    assert checked.warnings == ()
    assert len(checked.house.line) == 6
    assert len(checked.house.fakemeter) == 2
    assert checked.house.ship.to == "chdb:"


def test_the_example_house_asks_for_about_a_hundred_samples_a_second(
    shipped_maps: dict[str, RegisterMap],
) -> None:
    house = parse_house(EXAMPLE, "examples/house.toml", shipped_maps)
    rate = sum(
        len(poll.registers) / poll.every for device in house.device.values() for poll in device.poll
    )
    assert 80 < rate < 130


def test_the_example_house_leaves_a_third_of_each_line_free(
    shipped_maps: dict[str, RegisterMap],
) -> None:
    loads = check_house(EXAMPLE, "examples/house.toml", shipped_maps).loads
    assert set(loads) == {"grid", "solis1", "solis2", "evse"}
    assert max(loads.values()) < 0.67
    assert loads["grid"] > 0.4


UTILITY = """
[line.utility]
port = "/dev/serial/by-id/utility"

[device.utility]
line = "utility"
unit = 1
map = "meter"
poll = [{ every = 1, registers = ["total_power"] }]
"""


def test_second_meter_is_one_at_the_connection_that_is_read() -> None:
    second = '[grid]\ndevice = "grid"\nsecond = "utility/total_power"'
    parse_house(changed('[grid]\ndevice = "grid"', second) + UTILITY, "house.toml", MAPS)


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        ("sun/pv_power", "is what grug tells it"),
        ("grid/total_power", "is the grid meter itself"),
        ("utility/voltage", "no poll of 'utility' reads 'voltage'"),
        ("utilty/total_power", "did you mean 'utility'"),
    ],
)
def test_second_meter_that_cannot_know_is_refused(second: str, complaint: str) -> None:
    text = changed('[grid]\ndevice = "grid"', f'[grid]\ndevice = "grid"\nsecond = "{second}"')
    (problem,) = problems_of(text + UTILITY)
    assert complaint in problem.text


BESIDE = """
[device.slow]
line = "grid"
unit = 2
map = "inverter"
poll = [{ every = 10, registers = ["pv_power"] }]
"""


def test_a_read_that_never_fits_between_those_of_a_fast_poll_is_refused() -> None:
    text = changed('every = "200ms"', 'every = "60ms"').replace("baudrate = 19200", "") + BESIDE
    (problem,) = problems_of(text)
    assert problem.line == line_with(text, 'every = "60ms"')
    assert "never more than 31 ms between two of its readings" in problem.text
    assert "input_register 0+2, which 'slow' wants each 10 s, takes 43 ms" in problem.text
    assert "every = '80ms' here, or baudrate = 14400" in problem.text


def test_silence_that_a_unit_wants_counts_for_its_own_polls() -> None:
    usual = MAPS["inverter"]
    silent = RegisterMap(usual.model, usual.registers, DeviceFacts(gap_s=1.0))
    with pytest.raises(ConfigError) as raised:
        check_house(HOUSE, "house.toml", {**MAPS, "inverter": silent})
    (problem,) = raised.value.problems
    assert problem.line == line_with(HOUSE, "every = 1")
    assert "device 'sun' cannot be asked so often in any order" in problem.text
    assert "every = '1.5s' here" in problem.text
    assert "baudrate" not in problem.text


def test_a_fast_poll_that_another_device_makes_late_is_told_with_numbers() -> None:
    slow = BESIDE.replace("every = 10", 'every = "500ms"')
    fast = 'every = "70ms", priority = "background"'
    text = changed('every = "200ms"', fast).replace("baudrate = 19200", "") + slow
    (warning,) = check_house(text, "house.toml", MAPS).warnings
    assert warning.line == line_with(text, "[line.grid]")
    assert re.search(r"^\d+ of \d+ readings of 'grid' each 70 ms", warning.text)
