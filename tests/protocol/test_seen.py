"""From what taps recorded to frames: whole, in pieces, damaged, unanswered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grug.model import Role, Wire, WireFraming, WireKind
from grug.protocol.describe import describe
from grug.protocol.rtu import with_crc
from grug.protocol.seen import FrameFinder, Seen, SeenKind

CLIENT = Wire("solis", Role.CLIENT, WireFraming.RTU)
SERVER = Wire("meter", Role.SERVER, WireFraming.RTU)
GATEWAY = Wire("gate", Role.CLIENT, WireFraming.MBAP)
ASK = with_crc(bytes((1, 4, 0, 52, 0, 2)))
REPLY = with_crc(bytes((1, 4, 4, 0x44, 0x9A, 0x51, 0xEC)))
S = 1_000_000

Step = tuple[WireKind, int, bytes]


def find(wire: Wire, *steps: Step) -> list[Seen]:
    finder = FrameFinder()
    return [seen for kind, at_us, data in steps for seen in finder.take(wire, kind, at_us, data)]


def told(found: list[Seen]) -> list[tuple[SeenKind, int, str]]:
    return [(seen.kind, seen.exchange, describe(seen)) for seen in found]


def cuts_of(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = [*sorted(cut % len(data) for cut in cuts), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


@given(st.lists(st.integers(0, 100), max_size=5))
def test_reply_in_pieces_is_one_frame(cuts: list[int]) -> None:
    pieces = cuts_of(REPLY, cuts)
    received = [(WireKind.RECEIVED, S + i, piece) for i, piece in enumerate(pieces)]
    found = find(CLIENT, (WireKind.SENT, 0, ASK), *received)
    assert told(found) == [
        (SeenKind.REQUEST, 1, "unit 1 read input registers 52, 2 of them"),
        (SeenKind.REPLY, 1, "unit 1 = 449a 51ec"),
    ]
    assert found[1].time_us == S + len(pieces) - 1


def test_silence_says_how_long_it_was_waited() -> None:
    found = find(CLIENT, (WireKind.SENT, S, ASK), (WireKind.SILENCE, S + 300_000, b""))
    assert told(found)[1] == (SeenKind.SILENCE, 1, "no reply within 0.300 s")


def test_nothing_is_the_reply_to_a_request_of_one_byte() -> None:
    sent, received = (WireKind.SENT, 0, b"\x00"), (WireKind.RECEIVED, 1, bytes(4))
    assert [seen.kind for seen in find(CLIENT, sent, received)] == [SeenKind.REQUEST]


def test_half_a_reply_and_a_damaged_one_are_noise() -> None:
    damaged = REPLY[:-1] + b"\x00"
    found = find(
        CLIENT,
        (WireKind.SENT, 0, ASK),
        (WireKind.RECEIVED, 1, REPLY[:6]),
        (WireKind.SILENCE, 2, b""),
        (WireKind.SENT, 3, ASK),
        (WireKind.RECEIVED, 4, damaged),
        (WireKind.SENT, 5, ASK),
        (WireKind.DISCARDED, 6, (7).to_bytes(4, "little")),
    )
    assert [(seen.kind, seen.exchange) for seen in found] == [
        (SeenKind.REQUEST, 1),
        (SeenKind.NOISE, 1),
        (SeenKind.SILENCE, 1),
        (SeenKind.REQUEST, 2),
        (SeenKind.NOISE, 2),
        (SeenKind.REQUEST, 3),
        (SeenKind.NOISE, 3),
    ]
    assert describe(found[4]).endswith(damaged.hex(" "))
    assert describe(found[6]) == "7 bytes came unasked"


def test_late_reply_of_another_unit_is_not_the_answer() -> None:
    other = with_crc(bytes((2, 4, 4, 1, 2, 3, 4)))
    found = find(
        CLIENT,
        (WireKind.SENT, 0, ASK),
        (WireKind.RECEIVED, 1, other),
        (WireKind.SILENCE, 2, b""),
    )
    assert [seen.kind for seen in found] == [SeenKind.REQUEST, SeenKind.NOISE, SeenKind.SILENCE]


@given(st.lists(st.integers(0, 100), max_size=3))
def test_queries_of_an_inverter_are_found_and_what_we_left_unanswered(cuts: list[int]) -> None:
    step = 200_000
    steps: list[Step] = []
    for index in range(3):
        pieces = enumerate(cuts_of(ASK, cuts))
        steps += [(WireKind.RECEIVED, index * step + i, piece) for i, piece in pieces]
        if index != 1:
            steps.append((WireKind.SENT, index * step + 5000, REPLY))
    found = find(SERVER, *steps)
    assert [(seen.kind, seen.exchange) for seen in found] == [
        (SeenKind.REQUEST, 1),
        (SeenKind.REPLY, 1),
        (SeenKind.REQUEST, 2),
        (SeenKind.SILENCE, 2),
        (SeenKind.REQUEST, 3),
        (SeenKind.REPLY, 3),
    ]
    assert "asked again after 0.2" in describe(found[3])


def test_noise_on_the_meter_port_is_counted() -> None:
    found = find(SERVER, (WireKind.RECEIVED, 0, b"\xff\xfe\xfd" + ASK))
    assert [seen.kind for seen in found] == [SeenKind.NOISE, SeenKind.REQUEST]
    assert describe(found[0]) == "3 bytes that are no request"


def test_modbus_tcp_is_told_apart_by_its_numbers() -> None:
    ask, reply = (
        number.to_bytes(2, "big") + bytes(2) + (len(adu) - 2).to_bytes(2, "big") + adu[:-2]
        for number, adu in ((9, ASK), (9, REPLY))
    )
    late = b"\x00\x08" + reply[2:]
    found = find(
        GATEWAY,
        (WireKind.SENT, 0, ask),
        (WireKind.RECEIVED, 1, late + reply[:3]),
        (WireKind.RECEIVED, 2, reply[3:]),
    )
    assert [seen.kind for seen in found] == [SeenKind.REQUEST, SeenKind.NOISE, SeenKind.REPLY]
    assert describe(found[2]) == "unit 1 = 449a 51ec"
    assert describe(found[1]) == "unit 1 = 449a 51ec (answers no request that waits)"


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ((1, 0x83, 2), SeenKind.REPLY, "exception 2 (illegal data address) to read holding"),
        ((1, 6, 0, 5, 0, 9), SeenKind.REQUEST, "write one register 5 = 0009"),
        ((1, 6, 0, 5, 0, 9), SeenKind.REPLY, "did write one register 5 = 0009"),
        ((1, 16, 0, 5, 0, 1, 2, 0, 9), SeenKind.REQUEST, "write registers 5, 1 of them = 0009"),
        ((1, 16, 0, 5, 0, 1), SeenKind.REPLY, "did write registers"),
        ((1, 1, 2, 5, 1), SeenKind.REPLY, "= 05 01"),
        ((1, 99, 7), SeenKind.REQUEST, "function 99 07"),
    ],
)
def test_frames_are_put_in_words(body: tuple[int, ...], kind: SeenKind, words: str) -> None:
    text = describe(Seen(CLIENT, 0, kind, with_crc(bytes(body)), 1))
    assert text.startswith(f"unit 1 {words}")


@given(st.lists(st.tuples(st.sampled_from(list(WireKind)), st.binary(max_size=12))))
def test_no_record_is_too_strange(steps: list[tuple[WireKind, bytes]]) -> None:
    for wire in (CLIENT, SERVER, GATEWAY):
        timed = [(kind, index * 1000, data) for index, (kind, data) in enumerate(steps)]
        for seen in find(wire, *timed):
            assert describe(seen) or seen.adu
