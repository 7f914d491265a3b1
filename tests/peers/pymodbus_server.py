"""A unit made with pymodbus: ``pymodbus_server.py rtu PATH UNIT`` or ``... tcp|rtu+tcp PORT``.

It has what modbus_server.c has, and says "ready" once it listens.
"""

from __future__ import annotations

import asyncio
import sys

from pymodbus import FramerType
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusSerialServer, ModbusTcpServer

COUNT = 200


def make_context() -> ModbusServerContext:
    """Every unit id has the same tables; blocks of pymodbus begin one before address 0."""
    unit = ModbusDeviceContext(
        co=ModbusSequentialDataBlock(1, [at % 3 == 0 for at in range(COUNT)]),
        di=ModbusSequentialDataBlock(1, [at % 2 == 0 for at in range(COUNT)]),
        hr=ModbusSequentialDataBlock(1, list(range(COUNT))),
        ir=ModbusSequentialDataBlock(1, [at + 1000 for at in range(COUNT)]),
    )
    return ModbusServerContext(devices=unit, single=True)


async def main(kind: str, where: str) -> None:
    server: ModbusSerialServer | ModbusTcpServer
    if kind == "rtu":
        server = ModbusSerialServer(
            make_context(), framer=FramerType.RTU, port=where, baudrate=115200
        )
    else:
        framer = FramerType.SOCKET if kind == "tcp" else FramerType.RTU
        server = ModbusTcpServer(make_context(), framer=framer, address=("127.0.0.1", int(where)))
    await server.listen()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
