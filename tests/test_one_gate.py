"""There is one way to a device's registers, and it leads through the gate."""

from __future__ import annotations

import re
from pathlib import Path

import grug

ROOT = Path(grug.__file__).parent
MAKING = re.compile(r"\b(?:make_write|make_bits_write|make_mask_write|WriteRegisters)\(")
MAKERS = {
    "messages.py",  # Says what it is.
    "runtime/writes.py",  # Makes it of a value.
    "runtime/transaction.py",  # The gate's hands: what the rules allowed.
    "device/device.py",  # Shows what would be sent, and sends nothing itself.
}


def test_only_the_gate_makes_writes() -> None:
    makers = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if MAKING.search(path.read_text())
    }
    assert makers <= MAKERS


def test_only_the_gate_asks_a_bus_to_write() -> None:
    device = (ROOT / "device/device.py").read_text()
    asked = re.findall(r"_ask\(\s*(\w+)\(", device)
    assert set(asked) == {"ReadRegisters"}
