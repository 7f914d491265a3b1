"""The simulated house: everything that has power, stepped together. Pure physics, seeded.

In:    the active power that each inverter's meter port heard, the charger's limit, settings
Out:   powers, energies and states, for whoever looks
Never: a clock, a file, a task; the same seed and inputs give the same house, whoever asks when

Signs: grid plus = import, AC of an inverter plus = into the house, battery plus = charging.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from grug.sim.charger import Charger, ChargerSetup
from grug.sim.household import PHASES, Household, LoadSetup
from grug.sim.inverter import Inverter, InverterSetup
from grug.sim.sky import CHANGING, DAY_S, Sky, SkySetup

SECOND_S = 1.0
"""How often sky and household drift are looked at."""


@dataclass(frozen=True, slots=True)
class HouseSetup:
    """What the house consists of."""

    inverters: tuple[InverterSetup, ...] = (
        InverterSetup(name="solis1", phase=0),
        InverterSetup(name="solis2", phase=1),
    )
    chargers: tuple[ChargerSetup, ...] = (ChargerSetup(),)
    load: LoadSetup = field(default_factory=LoadSetup)
    start_hour: float = 9.0
    """Solar time at which the simulation starts, 0..24."""
    latitude_deg: float = 50.0
    day_of_year: int = 172
    sky: SkySetup = CHANGING
    step_s: float = 0.2
    """Of the physics; a whole number of them make a second."""


class House:
    """The house as it is after ``elapsed_s`` seconds."""

    def __init__(self, setup: HouseSetup, seed: int, origin_s: float = 0.0) -> None:
        """Build it.

        Args:
            setup: what it consists of.
            seed: weather, appliances, rescans and the car's moods follow from it.
            origin_s: time of the runtime's clock at which the house starts.
        """
        self.setup = setup
        self.origin_s = origin_s
        self._step_s = setup.step_s
        self._steps = 0
        self._steps_per_second = round(SECOND_S / setup.step_s)
        self._next_s = setup.step_s
        self._start_second = setup.start_hour * 3600.0
        self.elapsed_s = 0.0
        """What was simulated until now."""
        self.sky = Sky(
            random.Random(f"{seed} sky"),
            latitude_deg=setup.latitude_deg,
            day_of_year=setup.day_of_year,
            setup=setup.sky,
        )
        self.household = Household(setup.load, random.Random(f"{seed} load"), self._start_second)
        self.inverters = tuple(
            Inverter(part, random.Random(f"{seed} inverter {index}"), setup.step_s)
            for index, part in enumerate(setup.inverters)
        )
        self.chargers = tuple(
            Charger(part, random.Random(f"{seed} charger {index}"))
            for index, part in enumerate(setup.chargers)
        )
        self.grid_w = 0.0
        """Sum of the three phases, plus = import."""
        self.phase_w = [0.0] * PHASES
        """Grid power of each phase; the same list for ever."""
        self.truly_metered: list[Inverter] = []
        """Those with a true meter of their own at the house's connection."""
        self.load_w = self.household.phase_w
        """Household power of each phase, without car and inverters; the same list for ever."""
        self.import_ws = self.export_ws = self.load_ws = 0.0
        """Energies since the start in W s; import and export are of the sum of the phases."""
        self.phase_import_ws = [0.0] * PHASES
        self.phase_export_ws = [0.0] * PHASES
        self._open_the_eyes()

    @property
    def second_of_day(self) -> float:
        """Solar time, 0..86400."""
        return (self._start_second + self.elapsed_s) % DAY_S

    def advance(self, now_s: float) -> None:
        """Simulate until a time of the runtime's clock; the past is never simulated again."""
        until_s = now_s - self.origin_s + 1e-9
        while self._next_s <= until_s:
            self._step()

    def seconds_at(self, now_s: float) -> float:
        """Seconds since the house's start, of a time of the runtime's clock."""
        return now_s - self.origin_s

    def _open_the_eyes(self) -> None:
        """Begin with the sun where it is, instead of a sunrise within the first second."""
        self.sky.step(0.0, self._start_second)
        for inverter in self.inverters:
            inverter.wake(self.sky)
        self._second()
        self._add_up()

    def _step(self) -> None:
        step_s = self._step_s
        self._steps += 1
        elapsed_s = self.elapsed_s = self._steps * step_s
        self._next_s = (self._steps + 1) * step_s
        if not self._steps % self._steps_per_second:
            self._second()
        if elapsed_s >= self.household.due_s:
            self.household.switch(elapsed_s)
        for inverter in self.inverters:
            inverter.step(elapsed_s, step_s)
        for inverter in self.truly_metered:
            inverter.believe(self.grid_w, elapsed_s)
        for charger in self.chargers:
            if elapsed_s >= charger.due_s:
                charger.think(elapsed_s, self.second_of_day)
            if charger.power_w:
                charger.energy_ws += charger.power_w * step_s
                charger.session_wh += charger.power_w * step_s / 3600.0
        self._add_up()
        self._count(step_s)

    def _second(self) -> None:
        """What changes slowly."""
        second = self.second_of_day
        self.sky.step(self.elapsed_s, second)
        self.household.drift(second)
        for inverter in self.inverters:
            inverter.look_up(self.elapsed_s, self.sky)

    def _add_up(self) -> None:
        """Kirchhoff: what each phase takes from the grid."""
        phase_w, load_w = self.phase_w, self.load_w
        phase_w[0], phase_w[1], phase_w[2] = load_w
        for inverter in self.inverters:
            phase_w[inverter.setup.phase] -= inverter.ac_w
        for charger in self.chargers:
            phase_w[charger.setup.phase] += charger.power_w
        self.grid_w = phase_w[0] + phase_w[1] + phase_w[2]

    def _count(self, step_s: float) -> None:
        """Integrate the energies; meters of the three-phase kind do not net over phases."""
        load_w = self.load_w
        self.load_ws += (load_w[0] + load_w[1] + load_w[2]) * step_s
        if self.grid_w >= 0.0:
            self.import_ws += self.grid_w * step_s
        else:
            self.export_ws -= self.grid_w * step_s
        for phase, power_w in enumerate(self.phase_w):
            if power_w >= 0.0:
                self.phase_import_ws[phase] += power_w * step_s
            else:
                self.phase_export_ws[phase] -= power_w * step_s

    def truth(self) -> dict[str, float]:
        """Energies since the start in Wh, powers in W, and states of charge in per cent."""
        inverters, chargers = self.inverters, self.chargers
        energies_ws = {
            "import_wh": self.import_ws,
            "export_wh": self.export_ws,
            "load_wh": self.load_ws,
            "car_wh": sum(charger.energy_ws for charger in chargers),
            "pv_wh": sum(inverter.pv_ws for inverter in inverters),
            "battery_in_wh": sum(inverter.battery.in_ws for inverter in inverters),
            "battery_out_wh": sum(inverter.battery.out_ws for inverter in inverters),
        }
        truth = {name: energy_ws / 3600.0 for name, energy_ws in energies_ws.items()}
        truth["elapsed_s"] = self.elapsed_s
        truth["grid_power_w"] = self.grid_w
        truth["load_power_w"] = sum(self.load_w)
        truth["pv_power_w"] = sum(inverter.pv_w for inverter in inverters)
        truth["battery_power_w"] = sum(inverter.battery.power_w for inverter in inverters)
        truth["car_power_w"] = sum(charger.power_w for charger in chargers)
        for inverter in inverters:
            truth[f"{inverter.setup.name}_soc_pct"] = inverter.battery.soc_pct
        return truth
