"""A log for tests: a meter's power once a second and now and then an event."""

from __future__ import annotations

from pathlib import Path

from grug.messages import Message, Noted, Readings
from grug.storage.collect import Collector
from grug.transport.logwriter import Limits, LogWriter

NO_LIMITS = Limits(1 << 40, 1 << 50, 0)
T0 = 1_700_000_000_000
BLOCK_S = 10


class TestLog:
    """Writes blocks of ten seconds, as a house would."""

    __test__ = False

    def __init__(self, directory: Path) -> None:
        self.writer = LogWriter(directory, NO_LIMITS, is_durable=False)
        self.collector = Collector()
        self.at_s = 0

    def write(self, blocks: int = 1, *, first_s: int | None = None) -> int:
        """Write blocks; gives the number of the last frame."""
        if first_s is not None:
            self.at_s = first_s
        seq = -1
        for _ in range(blocks):
            for message in block_messages(self.at_s):
                self.collector.add(message, T0 + round(1000 * at_of(message)))
            self.at_s += BLOCK_S
            time_ms = T0 + self.at_s * 1000
            seq = self.writer.append(
                lambda seq: self.collector.cut(seq, boot_id="b"),
                lambda seq, time_ms=time_ms: self.collector.table_frame(
                    seq, boot_id="b", time_ms=time_ms
                ),
                now_ms=time_ms,
            )
        return seq

    def close(self) -> None:
        self.writer.close()

    def __enter__(self) -> TestLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def block_messages(first_s: int) -> list[Message]:
    """What is in one block: power and voltage every second, a note every 100 s."""
    messages: list[Message] = []
    for at_s in range(first_s, first_s + BLOCK_S):
        names = ("power", "voltage")
        messages.append(Readings("grid", at_s, names, (at_s % 977 / 10, 230 + at_s % 3)))
        if at_s % 100 == 0:
            messages.append(Noted("test", f"second {at_s}", at_s))
    return messages


def at_of(message: Message) -> float:
    assert isinstance(message, Readings | Noted)
    return message.read_s if isinstance(message, Readings) else message.noted_s


def write_log(directory: Path, blocks: int, first_s: int = 0) -> int:
    """One start of a writer; gives the number of its last frame."""
    with TestLog(directory) as log:
        return log.write(blocks, first_s=first_s)
