"""grug steers a house's energy over Modbus; as a library it reads and writes devices by name.

Nothing is loaded before it is used, so that the parts of grug do not pay for the library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grug.codec.image import RegisterImage as RegisterImage
    from grug.codec.registers import Access as Access
    from grug.codec.registers import Kind as Kind
    from grug.codec.registers import Register as Register
    from grug.codec.registers import RegisterMap as RegisterMap
    from grug.codec.registers import WordOrder as WordOrder
    from grug.device.device import Device as Device
    from grug.device.line import DeviceLine as DeviceLine
    from grug.device.line import find_map as find_map
    from grug.device.line import open_line as open_line
    from grug.device.readings import Reading as Reading
    from grug.device.server import ServedUnit as ServedUnit
    from grug.device.server import serve as serve
    from grug.errors import (
        BadValueError as BadValueError,
    )
    from grug.errors import (
        BusError as BusError,
    )
    from grug.errors import (
        EncodeError as EncodeError,
    )
    from grug.errors import (
        ExpiredError as ExpiredError,
    )
    from grug.errors import (
        GrugError as GrugError,
    )
    from grug.errors import (
        LineError as LineError,
    )
    from grug.errors import (
        MapError as MapError,
    )
    from grug.errors import (
        NoReplyError as NoReplyError,
    )
    from grug.errors import (
        NotAllowedError as NotAllowedError,
    )
    from grug.errors import (
        NotTakenError as NotTakenError,
    )
    from grug.errors import (
        RefusedError as RefusedError,
    )
    from grug.errors import (
        RemoteProtocolError as RemoteProtocolError,
    )
    from grug.errors import (
        UnitOfflineError as UnitOfflineError,
    )
    from grug.errors import (
        UnknownRegisterError as UnknownRegisterError,
    )
    from grug.model import Quality as Quality
    from grug.model import Table as Table
    from grug.model import Value as Value

_HOMES = {
    "Access": "codec.registers",
    "BadValueError": "errors",
    "BusError": "errors",
    "Device": "device.device",
    "DeviceLine": "device.line",
    "EncodeError": "errors",
    "ExpiredError": "errors",
    "GrugError": "errors",
    "Kind": "codec.registers",
    "LineError": "errors",
    "MapError": "errors",
    "NoReplyError": "errors",
    "NotAllowedError": "errors",
    "NotTakenError": "errors",
    "Quality": "model",
    "Reading": "device.readings",
    "RefusedError": "errors",
    "Register": "codec.registers",
    "RegisterImage": "codec.image",
    "RegisterMap": "codec.registers",
    "RemoteProtocolError": "errors",
    "ServedUnit": "device.server",
    "Table": "model",
    "UnitOfflineError": "errors",
    "UnknownRegisterError": "errors",
    "Value": "model",
    "WordOrder": "codec.registers",
    "find_map": "device.line",
    "open_line": "device.line",
    "serve": "device.server",
}
"""Where each public name is defined."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'grug' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"grug.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Show the public names, loaded or not."""
    return sorted({*globals(), *__all__})
