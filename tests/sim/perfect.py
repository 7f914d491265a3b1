"""A controller without faults or ideas of its own: each inverter is told half the grid's power."""

from __future__ import annotations

from collections import deque

from grug.sim.battery import BatterySetup
from grug.sim.house import House, HouseSetup
from grug.sim.household import LoadSetup
from grug.sim.inverter import InverterSetup

ASK_S = 0.25
READ_TO_SERVED = 1
"""Questions between the reading of the grid meter and the answer that holds it."""
REPLY_S = 0.15


def regulate(house: House, seconds: float, offset_w: float = 0.0) -> list[float]:
    """Go on for so long with the loop closed; returns the grid's power at each question."""
    seen: list[float] = []
    waiting: deque[float] = deque()
    share = 1 / len(house.inverters)
    start_s = house.elapsed_s
    for index in range(1, round(seconds / ASK_S) + 1):
        now_s = start_s + index * ASK_S
        house.advance(now_s)
        seen.append(house.grid_w)
        waiting.append(float(round(house.grid_w)))
        if len(waiting) > READ_TO_SERVED:
            told_w = (waiting.popleft() + offset_w) * share
            for inverter in house.inverters:
                inverter.believe(told_w, now_s + REPLY_S)
    return seen


def quiet_house(
    *, start_hour: float = 0.0, base_w: float = 300.0, soc_pct: float = 50.0, curtails: bool = False
) -> House:
    """A house with a constant load, two inverters and no car; at 0 h there is no sun."""
    battery = BatterySetup(start_soc_pct=soc_pct)
    inverters = tuple(
        InverterSetup(
            name=f"inverter{index}",
            phase=index,
            battery=battery,
            curtails=curtails,
            rescan_s=1e9,
        )
        for index in range(2)
    )
    setup = HouseSetup(
        inverters=inverters,
        chargers=(),
        load=LoadSetup(base_w=base_w, is_constant=True),
        start_hour=start_hour,
    )
    return House(setup, seed=1)
