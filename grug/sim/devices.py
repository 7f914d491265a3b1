"""The simulated Solis inverter and ABB Terra charger: units whose writes act on the house."""

from __future__ import annotations

from grug.codec.registers import Kind, Register, RegisterMap
from grug.model import Span, Table, Value
from grug.protocol.server import ILLEGAL_DATA_ADDRESS
from grug.sim import dispatch
from grug.sim.charger import Charger
from grug.sim.house import House
from grug.sim.inverter import Inverter
from grug.sim.units import SimUnit, Source, frequency, phase_voltage

POWER_ON = 0xBE
POWER_OFF = 0xDE
"""Values of ``power_on_off``. Source: the seed's notes."""
_POWER_ADDRESS = 43007
_CHARGE_LIMIT_ADDRESS = 43117
_DISCHARGE_LIMIT_ADDRESS = 43118
_METER_TYPE_ADDRESS = 43140

_METER_LOST_BITS = 1 << 9 | 1 << 10
"""Meter communication failed, fail-safe. Source: the seed's table of fault_status_1_grid."""
_NO_GRID_BIT = 1 << 0
"""Source: the same."""
_MODE_ADDRESS = 43110
_OFF_GRID_BIT = 1 << 2
"""The storage mode's setting, and its bit "off grid". Source: maps/solis_s5_eh1p.toml."""
_NO_FAULT = 0x0F00
"""The active-low fault bits of operating_status. Source: the seed's table of its bits."""
_STATUS_GENERATING = 3
_STATUS_OFF = 0x1004
"""Source: Ginlong's inverter status table, as public integrations list it."""

_DARK_V = 12.0
"""What a string still shows at night."""
_BATTERY_V_EMPTY = 48.0
_BATTERY_V_FULL = 53.5


class SolisUnit(SimUnit):
    """COM port of a Solis S5-EH1P-6K."""

    def __init__(
        self,
        house: House,
        unit_id: int,
        register_map: RegisterMap,
        inverter: Inverter,
        meter_type: int,
    ) -> None:
        """Make it; ``meter_type`` is 1 for an Acrel and 4 for an Eastron on its meter port."""
        sources = solis_sources(house, inverter)
        sources["dispatch_available"] = lambda: dispatch.EXISTS if self.has_dispatch else 0
        sources["energy_storage_mode"] = lambda: self._mode
        sources["dispatch_status"] = lambda: int(inverter.dispatched is not None)
        super().__init__(house, unit_id, register_map, sources)
        self.inverter = inverter
        self._mode = 0
        """What was written to the storage mode."""
        self.has_dispatch = True
        """Whether the firmware has the dispatch block; False refuses its registers."""
        self._was_dispatched = False
        settings: dict[int, Value] = {
            _POWER_ADDRESS: POWER_ON,
            _CHARGE_LIMIT_ADDRESS: round(inverter.battery.charge_w_max / 50.0),
            _DISCHARGE_LIMIT_ADDRESS: round(inverter.battery.discharge_w_max / 50.0),
            _METER_TYPE_ADDRESS: meter_type | 0x100,
        }
        for register in register_map.registers.values():
            if register.table is Table.HOLDING_REGISTER and register.address in settings:
                self.image.set(register.name, settings[register.address])
            elif register.kind is Kind.TEXT:
                self.image.set(register.name, f"SIM{unit_id:03d}5EH1P6K"[: 2 * register.words])

    def read(self, span: Span, now_s: float) -> bytes | int:
        """See ``SimUnit.read``; the fail-safe shows in the master switch."""
        if span.table is Table.HOLDING_REGISTER and span.end > dispatch.FIRST:
            if not self.has_dispatch and span.address <= dispatch.LAST:
                return ILLEGAL_DATA_ADDRESS
            self.house.advance(now_s)
            if self.inverter.dispatched is None and self._was_dispatched:
                self._was_dispatched = False
                self.image.set("dispatch_enabled", 0)
        return super().read(span, now_s)

    def write(
        self, table: Table, address: int, block: bytes, now_s: float, mask: bytes = b""
    ) -> int:
        """See ``SimUnit.write``."""
        if not self.has_dispatch and dispatch.FIRST <= address <= dispatch.LAST:
            return ILLEGAL_DATA_ADDRESS
        return super().write(table, address, block, now_s, mask)

    def _dispatch(self, register: Register, now_s: float) -> None:
        """Obey one register of the dispatch block."""
        image = self.image
        self.inverter.dispatched = dispatch.dispatched(
            self.inverter.dispatched,
            register.address,
            is_on=image.get("dispatch_enabled") == 1,
            failsafe_min=int(image.get("dispatch_failsafe_interval")),
            mode=int(image.get("dispatch_mode")),
            power_w=float(image.get("dispatch_power")),
            elapsed_s=self.house.seconds_at(now_s),
        )
        self._was_dispatched |= self.inverter.dispatched is not None

    def written(self, register: Register, value: Value, now_s: float) -> None:
        """Obey on and off, current limits, storage mode and dispatch. See ``SimUnit.written``."""
        inverter = self.inverter
        if register.table is not Table.HOLDING_REGISTER:
            return
        if register.address == _POWER_ADDRESS and value in (POWER_ON, POWER_OFF):
            inverter.is_on = value == POWER_ON
        elif register.address == _CHARGE_LIMIT_ADDRESS:
            limit_w = float(value) * 50.0
            inverter.battery.charge_w_max = min(limit_w, inverter.setup.battery.charge_w_max)
        elif register.address == _DISCHARGE_LIMIT_ADDRESS:
            limit_w = float(value) * 50.0
            inverter.battery.discharge_w_max = min(limit_w, inverter.setup.battery.discharge_w_max)
        elif register.address == _MODE_ADDRESS:
            self._mode = int(value)
            inverter.stays_off_grid = bool(self._mode & _OFF_GRID_BIT)
        elif dispatch.FIRST <= register.address <= dispatch.LAST:
            self._dispatch(register, now_s)


def solis_sources(house: House, inverter: Inverter) -> dict[str, Source]:
    """What the inverter's input registers show, by the names of its map."""
    return (
        _solis_dc(inverter)
        | _solis_ac(house, inverter)
        | _solis_battery(inverter)
        | _solis_energies(inverter)
        | _solis_belief(house, inverter)
    )


def _solis_dc(inverter: Inverter) -> dict[str, Source]:
    first_v, second_v = (string.voltage_v for string in inverter.setup.strings)
    return {
        "mppt1_voltage": lambda: first_v if inverter.is_lit(0) else _DARK_V,
        "mppt1_current": lambda: inverter.string_w[0] / first_v,
        "mppt2_voltage": lambda: second_v if inverter.is_lit(1) else _DARK_V,
        "mppt2_current": lambda: inverter.string_w[1] / second_v,
        "pv_power": lambda: inverter.pv_w,
        "dc_bus_voltage": lambda: 400.0,
        "dc_bus_half_voltage": lambda: 200.0,
    }


def _solis_ac(house: House, inverter: Inverter) -> dict[str, Source]:
    phase = inverter.setup.phase

    def load_w() -> float:
        """As the inverter works it out: what it gives, plus what its meter says is bought."""
        return max(0.0, inverter.ac_w + (0.0 if inverter.is_meter_lost else inverter.belief_w))

    return {
        "phase_a_voltage": lambda: phase_voltage(house, phase),
        "phase_a_current": lambda: abs(inverter.ac_w) / phase_voltage(house, phase),
        "active_power": lambda: inverter.ac_w,
        "apparent_power": lambda: abs(inverter.ac_w),
        "grid_port_power": lambda: inverter.ac_w,
        "inverting_power_or_rectifying_power": lambda: inverter.ac_w,
        "house_load_power": load_w,
        "grid_frequency": lambda: frequency(house),
        "temperature": lambda: 35.0 + abs(inverter.ac_w) / 300.0,
        "inverter_status": lambda: _STATUS_GENERATING if inverter.is_on else _STATUS_OFF,
        "operating_status": lambda: _NO_FAULT | (1 if inverter.is_on else 1 << 4),
        "fault_status_1_grid": lambda: (
            (_METER_LOST_BITS if inverter.is_meter_lost else 0)
            | (0 if inverter.has_grid else _NO_GRID_BIT)
        ),
        "actual_power_limit": lambda: 100.0,
    }


def _solis_battery(inverter: Inverter) -> dict[str, Source]:
    battery = inverter.battery

    def voltage_v() -> float:
        share = battery.stored_wh / battery.capacity_wh
        return _BATTERY_V_EMPTY + (_BATTERY_V_FULL - _BATTERY_V_EMPTY) * share

    return {
        "battery_power": lambda: inverter.slow_battery_w,
        "battery_voltage": voltage_v,
        "battery_current": lambda: abs(inverter.slow_battery_w) / voltage_v(),
        "battery_current_bms": lambda: abs(inverter.slow_battery_w) / voltage_v(),
        "battery_current_direction": lambda: 0 if battery.power_w >= 0 else 1,
        "bms_battery_soc": lambda: battery.soc_pct,
        "bms_battery_health_soh": lambda: 99,
        "bms_battery_voltage": voltage_v,
        "bms_battery_current": lambda: battery.power_w / voltage_v(),
        "bms_battery_charge_current_limit": lambda: battery.charge_limit_w() / voltage_v(),
        "bms_battery_discharge_current_limit": lambda: battery.discharge_limit_w() / voltage_v(),
    }


def _solis_energies(inverter: Inverter) -> dict[str, Source]:
    """Counters since the start of the simulation; those of today do not begin anew at midnight."""
    battery = inverter.battery
    totals: dict[str, Source] = {
        "energy_generated": lambda: inverter.pv_ws / 3.6e6,
        "battery_charge_energy": lambda: battery.in_ws / 3.6e6,
        "battery_discharge_energy": lambda: battery.out_ws / 3.6e6,
        "energy_imported_from_grid": lambda: inverter.import_ws / 3.6e6,
        "energy_exported_to_grid": lambda: inverter.export_ws / 3.6e6,
        "house_load_energy": lambda: inverter.export_ws / 3.6e6,
    }
    return {
        f"{name}_{period}": source
        for name, source in totals.items()
        for period in ("total", "today")
    }


def _solis_belief(house: House, inverter: Inverter) -> dict[str, Source]:
    """The block in which the inverter tells what its meter said last."""
    phase = inverter.setup.phase
    return {
        "meter_ac_voltage_a": lambda: phase_voltage(house, phase),
        "meter_ac_current_a": lambda: abs(inverter.belief_w) / phase_voltage(house, phase),
        "meter_active_power_a": lambda: inverter.belief_w,
        "meter_total_active_power": lambda: inverter.belief_w,
        "meter_grid_frequency": lambda: frequency(house),
    }


_TERRA_LIMIT_ADDRESS = 0x4100
_TERRA_STOP_ADDRESS = 0x4105
_TERRA_TIMEOUT_ADDRESS = 0x4106
_TERRA_LIMIT_ADDRESSES = (_TERRA_LIMIT_ADDRESS, 0x400E)
_TERRA_TIMEOUT_ADDRESSES = (_TERRA_TIMEOUT_ADDRESS, 0x4020)
"""Holding registers, and the input registers that show them. Source: the seed's register table."""
_SOCKET_LOCKED_IN_CAR = 0x111
_SOCKET_STATION_ONLY = 0x001


class TerraUnit(SimUnit):
    """An ABB Terra AC."""

    def __init__(
        self, house: House, unit_id: int, register_map: RegisterMap, charger: Charger
    ) -> None:
        self.charger = charger
        super().__init__(house, unit_id, register_map, self._sources(house, charger, register_map))
        for register in register_map.registers.values():
            if "serial" in register.name and register.table is Table.INPUT_REGISTER:
                is_text = register.kind is Kind.TEXT
                self.image.set(register.name, "SIMTERRA" if is_text else 4021_0001)

    def _sources(
        self, house: House, charger: Charger, register_map: RegisterMap
    ) -> dict[str, Source]:
        phase = charger.setup.phase
        sources: dict[str, Source] = {
            "hard_max_current": lambda: charger.setup.hard_a_max,
            "error_code": lambda: 0,
            "socket_state": lambda: (
                _SOCKET_LOCKED_IN_CAR if charger.is_plugged else _SOCKET_STATION_ONLY
            ),
            "charge_state": lambda: int(charger.state),
            "current": lambda: charger.current_a,
            "voltage": lambda: phase_voltage(house, phase),
            "active_power": lambda: charger.power_w,
            "energy": lambda: charger.session_wh / 1000.0,
        }
        for register in register_map.registers.values():
            if register.address in _TERRA_LIMIT_ADDRESSES:
                sources[register.name] = lambda: charger.limit_a
            elif register.address in _TERRA_TIMEOUT_ADDRESSES:
                sources[register.name] = lambda: charger.comm_timeout_s
        return sources

    def heard(self, now_s: float) -> None:
        """See ``SimUnit.heard``."""
        self.charger.hear(self.house.seconds_at(now_s))

    def written(self, register: Register, value: Value, now_s: float) -> None:
        """Obey the limit and the timeout; the stop register does its harm."""
        if register.address == _TERRA_LIMIT_ADDRESS:
            self.charger.set_limit(float(value), self.house.seconds_at(now_s))
        elif register.address == _TERRA_STOP_ADDRESS:
            self.charger.is_enabled = False
        elif register.address == _TERRA_TIMEOUT_ADDRESS:
            self.charger.comm_timeout_s = float(value)
