"""What of an offset registers carry, and that nobody aims at a power at the grid by himself."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from grug.control.balance import InverterFacts
from grug.control.carried import (
    DOUBT_S_MAX,
    REST_S,
    TOEHOLD_W,
    TRIAL_S,
    UNTRIED,
    Carrier,
    admitted,
    split,
)
from grug.control.images import GridOthers
from grug.control.ladder import GridReading
from grug.control.offset import OffsetSettings, OffsetState, SteeredInverter, decide, take_dispatch
from grug.control.plant import Asking, Plant
from grug.control.wishes import WishLimits
from grug.messages import DispatchChanged

MEASURED = Plant(0.45, 0.55, 0.1)
MITM = SteeredInverter("mitm", "fake", plant=MEASURED)
TRUE = SteeredInverter("true", "", plant=MEASURED, carrier=Carrier.REGISTERS)
STEP_S = 0.2


def said(
    power_w: float, until_s: float = 1e6, *, is_doubt: bool = False, name: str = "true"
) -> DispatchChanged:
    return DispatchChanged(name, power_w, until_s, "why", 0.0, is_doubt)


IDLE = said(0.0, -1.0)


class Toys:
    """A house of inverters that integrate what meter and registers tell, and its controller."""

    def __init__(self, *inverters: SteeredInverter, offset_w: float = -3000.0) -> None:
        limits = WishLimits(power_w=offset_w)
        self.settings = OffsetSettings("grid", "power", inverters, limits=limits)
        self.state = OffsetState()
        self.now_s = 0.0
        self.ac_w = {each.name: 250.0 for each in inverters}
        self.registers_w: dict[str, float] = {}
        self.reason = ""
        self.offset_w = 0.0
        self._coming: list[tuple[float, str, float]] = []

    @property
    def grid_w(self) -> float:
        return 500.0 - sum(self.ac_w.values())

    def run(self, for_s: float) -> tuple[float, float]:
        """Largest power from one inverter to the other, and mean power at the grid."""
        against_w, grid_w, steps = 0.0, 0.0, round(for_s / STEP_S)
        for _ in range(steps):
            self._step()
            low_w, high_w = min(self.ac_w.values()), max(self.ac_w.values())
            against_w = max(against_w, min(-low_w, high_w))
            grid_w += self.grid_w / steps
        return against_w, grid_w

    def _step(self) -> None:
        now_s = self.now_s
        facts = {
            name: InverterFacts(
                pv_w=0.0,
                ac_w=ac_w,
                ac_s=now_s,
                read_s=now_s,
                soc_pct=50.0,
                soc_s=now_s,
                battery_v=50.0,
                charge_a_max=100.0,
                discharge_a_max=100.0,
                asking=Asking(now_s, STEP_S),
            )
            for name, ac_w in self.ac_w.items()
        }
        grid = GridReading(self.grid_w, now_s)
        outcome = decide(self.settings, self.state, grid, GridOthers(), now_s, facts=facts)
        self.state, self.reason = outcome.state, outcome.decided.reason
        decided = dict(zip(outcome.decided.names, outcome.decided.values, strict=True))
        self.offset_w = decided["offset_w"]
        for name in self.ac_w:
            meter_w = decided.get(f"served_w/{name}", self.grid_w)
            told_w = meter_w + self.registers_w.get(name, 0.0)
            self._coming.append((now_s + MEASURED.dead_s, name, told_w))
        while self._coming and self._coming[0][0] <= now_s:
            _, name, told_w = self._coming.pop(0)
            ac_w = self.ac_w[name] + MEASURED.gain_per_s * told_w * STEP_S
            self.ac_w[name] = min(max(ac_w, -5000.0), 5000.0)
        self.now_s = round(now_s + STEP_S, 3)


@pytest.mark.parametrize("known", [None, IDLE, said(0.0, is_doubt=True)])
@pytest.mark.parametrize("plant", [MEASURED, Plant(is_measured=False)])
def test_nobody_fights_a_true_meter_whose_registers_carry_nothing(
    known: DispatchChanged | None, plant: Plant
) -> None:
    house = Toys(replace(MITM, plant=plant), replace(TRUE, plant=plant))
    if known is not None:
        house.state = take_dispatch(house.state, known)
    against_w, _ = house.run(120.0)
    assert against_w < 300.0
    assert house.grid_w == pytest.approx(0.0, abs=50.0)
    assert "true has a true meter and its registers do not carry it" in house.reason
    assert abs(house.offset_w) == TOEHOLD_W  # Enough for the registers to begin.


def test_the_offset_goes_as_soon_as_registers_stop_and_comes_back_with_them() -> None:
    house = Toys(MITM, TRUE)
    for power_w in (-3000.0, 0.0, -3000.0):
        house.registers_w["true"] = power_w
        house.state = take_dispatch(house.state, said(power_w) if power_w else IDLE)
        house.run(60.0)
        assert house.grid_w == pytest.approx(-power_w, abs=150.0)


@pytest.mark.parametrize("carrier", [Carrier.REGISTERS, Carrier.BOTH])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_meter_that_tells_no_offset_tells_the_truth_with_a_measured_plant(
    carrier: Carrier, is_known: bool
) -> None:
    house = Toys(SteeredInverter("a", "fake", plant=MEASURED, carrier=carrier))
    if is_known:
        known = said(0.0, -1.0 if carrier is Carrier.REGISTERS else 1e6, name="a")
        if carrier is Carrier.BOTH:
            known = msgspec.structs.replace(known, is_doubt=True)
        house.state = take_dispatch(house.state, known)
    house.run(20.0)
    _, grid_w = house.run(60.0)
    assert grid_w == pytest.approx(0.0, abs=30.0)
    assert "a's meter says no offset" in house.reason


def test_a_part_that_nobody_carries_is_not_wanted_from_the_others() -> None:
    absent = SteeredInverter("absent", "fake2", plant=MEASURED, carrier=Carrier.REGISTERS)
    house = Toys(MITM, absent, offset_w=-2000.0)
    house.state = take_dispatch(house.state, said(0.0, -1.0, name="absent"))
    against_w, _ = house.run(60.0)
    assert house.grid_w == pytest.approx(1000.0, abs=50.0)
    assert against_w < 300.0


def test_what_registers_carry_comes_off_the_meters_word() -> None:
    assert split(Carrier.BOTH, said(-700.0), -1000.0, 0.0)[:2] == (-700.0, 0.0)
    assert split(Carrier.REGISTERS, said(-700.0), -1000.0, 0.0)[:2] == (-700.0, -300.0)
    assert split(Carrier.BOTH, IDLE, -1000.0, 0.0)[:2] == (0.0, 0.0)
    assert split(Carrier.METER, said(-700.0), -1000.0, 0.0)[:2] == (0.0, 0.0)


@pytest.mark.parametrize("carrier", [Carrier.REGISTERS, Carrier.BOTH])
@pytest.mark.parametrize("maybe_w", [-3000.0, -500.0, 0.0, 900.0])
def test_in_doubt_the_meter_says_no_offset_whatever_the_registers_do(
    carrier: Carrier, maybe_w: float
) -> None:
    registers_w, missing_w, why = split(carrier, said(maybe_w, is_doubt=True), -1000.0, 0.0)
    assert -1000.0 - missing_w - registers_w == 0.0
    assert -1000.0 <= registers_w <= 0.0
    assert why


def test_a_change_that_is_being_written_holds_nothing_back_for_a_moment() -> None:
    gate, _, _ = admitted(UNTRIED, ("true",), {"true": said(-1000.0)}, -1000.0, 0.0)
    doubt = {"true": said(-1500.0, is_doubt=True)}
    gate, offset_w, reason = admitted(gate, ("true",), doubt, -1500.0, DOUBT_S_MAX)
    assert (offset_w, reason) == (-1500.0, "")
    _, offset_w, reason = admitted(gate, ("true",), doubt, -1500.0, DOUBT_S_MAX + 0.1)
    assert (offset_w, reason != "") == (-TOEHOLD_W, True)


def test_two_true_meters_of_which_one_lacks_registers_rest_after_a_short_trial() -> None:
    gate, asked_w = UNTRIED, []
    for second in range(300):
        is_asked = bool(asked_w) and asked_w[-1] != 0.0
        carried = {"first": said(asked_w[-1]) if is_asked else IDLE, "second": IDLE}
        gate, offset_w, _ = admitted(gate, ("first", "second"), carried, 2000.0, float(second))
        asked_w.append(offset_w)
    assert set(asked_w) == {0.0, TOEHOLD_W}
    assert sum(each != 0.0 for each in asked_w) <= 3 * (TRIAL_S + 3.0)
    assert asked_w.count(0.0) >= 2 * REST_S - 1.0
