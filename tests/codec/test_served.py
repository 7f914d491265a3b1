"""Profiles: what an image shows in the registers of a meter."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.codec.csvmap import parse_map
from grug.codec.served import ServedImage, power_range_w, power_register
from grug.errors import EncodeError, MapError
from grug.transport.maps import load_map

PROFILES = (
    "acrel_1_phase",
    "acrel_acr10r",
    "eastron_sdm120",
    "eastron_sdm630",
    "chint_dtsu666",
)
NAMES = ("voltage", "active_power", "current", "power_factor", "import_active_energy")


def shown(model: str, power_w: float, phases: tuple[int, ...] = ()) -> ServedImage:
    image = ServedImage(load_map(model), phases)
    factor = 1.0 if power_w >= 0 else -1.0
    image.take(NAMES, (230.0, power_w, abs(power_w) / 230.0, factor, 1234.5))
    return image


@pytest.mark.parametrize("model", PROFILES)
@given(power_w=st.integers(-32000, 32000))
def test_every_profile_tells_every_power_with_its_sign(model: str, power_w: int) -> None:
    registers = shown(model, float(power_w)).registers
    assert registers.get(power_register(load_map(model))) == pytest.approx(power_w, abs=0.1)


@pytest.mark.parametrize("phases", [(), (1,), (2, 3)])
def test_phases_add_up_to_the_whole_and_only_those_named_carry(phases: tuple[int, ...]) -> None:
    registers = shown("eastron_sdm630", -2400.0, phases).registers
    powers = [registers.get(f"phase_{phase}_power") for phase in (1, 2, 3)]
    assert sum(powers) == registers.get("total_power") == -2400.0
    assert {number for number, power in enumerate(powers, 1) if power} == set(phases or (1, 2, 3))
    currents = [registers.get(f"phase_{phase}_current") for phase in (1, 2, 3)]
    assert sum(currents) == pytest.approx(registers.get("sum_of_line_currents"), rel=1e-5)
    assert registers.get("phase_3_line_to_neutral_volts") == 230.0
    assert registers.get("line_1_to_line_2_volts") == pytest.approx(230.0 * math.sqrt(3), rel=1e-6)
    assert registers.get("total_kwh") == registers.get("total_import_kwh") == 1234.5


def test_factor_of_a_register_without_sign_does_not_cost_the_image() -> None:
    registers = shown("acrel_acr10r", -500.0).registers
    assert (registers.get("active_power"), registers.get("power_factor")) == (-500, 1)


def test_what_an_image_leaves_out_is_zero_and_not_what_was_before() -> None:
    image = shown("acrel_1_phase", 500.0)
    image.take(("active_power",), (100.0,))
    assert image.registers.get("voltage") == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_number_leaves_all_as_it_was(value: float) -> None:
    image = shown("eastron_sdm630", 500.0)
    with pytest.raises(EncodeError, match="no number"):
        image.take(("active_power", "voltage"), (100.0, value))
    assert image.registers.get("total_power") == 500.0


def test_range_of_a_profile_is_what_each_of_its_powers_can_carry() -> None:
    assert power_range_w(load_map("acrel_1_phase")) == (-32768, 32767)
    assert power_range_w(load_map("eastron_sdm630")) == (-1e6, 1e6)


CSV = """name,table,address,kind,scale,unit
p,holding_register,0,s16,,W
code,holding_register,7,u16,,
"""


def test_own_profile_may_count_the_other_way_round() -> None:
    sidecar = '[fakemeter]\nidentity = { code = 7 }\nshows = { p = "-active_power" }\n'
    image = ServedImage(parse_map("mine", CSV, sidecar, "mine.csv"), identity={"code": 8})
    image.take(("active_power",), (300.0,))
    assert (image.registers.get("p"), image.registers.get("code")) == (-300, 8)


def test_all_that_is_wrong_in_a_sidecar_is_said_with_its_line() -> None:
    sidecar = (
        "[fakemeter]\nunknown = 'zeroes'\nidentify = 1\n"
        "[fakemeter.identity]\ncodes = 7\n[fakemeter.shows]\np = 'active_pwer'\nq = 'voltage'\n"
    )
    with pytest.raises(MapError) as raised:
        parse_map("mine", CSV, sidecar, "mine.csv")
    text = str(raised.value)
    assert "mine.toml:2: unknown: 'zeroes' is not exception or zeros or silent" in text
    assert "unknown key 'identify' in [fakemeter]; did you mean 'identity'?" in text
    with pytest.raises(MapError) as raised:
        parse_map(
            "mine",
            CSV,
            sidecar.replace("zeroes", "zeros").replace("identify = 1\n", ""),
            "mine.csv",
        )
    text = str(raised.value)
    assert "mine.toml:4: fakemeter.identity: the map has no register 'codes'" in text
    assert "there is no quantity 'active_pwer'; did you mean 'active_power'?" in text
    assert "fakemeter.shows: the map has no register 'q'" in text


def test_identity_that_does_not_fit_is_refused_at_once() -> None:
    with pytest.raises(EncodeError):
        ServedImage(load_map("eastron_sdm630"), identity={"meter_code": 1e9})
