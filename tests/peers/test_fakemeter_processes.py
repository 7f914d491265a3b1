"""Never stale, never wrong: whatever befalls the processes, the inverter hears truth or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from metered_house import HANG_S, MAX_AGE_S, Answer, MeteredHouse, metered_house

pytestmark = pytest.mark.slow

WIRE_S = 0.1
"""From the port to our ears, on a busy machine: what this test itself may add to an age."""
BUSY_PROCESSES = 6


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeteredHouse]:
    with metered_house(tmp_path_factory.mktemp("house")) as running:
        yield running


def check_ages(answers: list[Answer | None]) -> int:
    """No answer is older than allowed; returns how many there are."""
    heard = [answer for answer in answers if answer is not None]
    for answer in heard:
        assert -WIRE_S < answer.age_s < MAX_AGE_S + WIRE_S
    return len(heard)


def test_answers_are_fresh_while_all_is_well(house: MeteredHouse) -> None:
    answers = house.ask_for(2.0)
    assert check_ages(answers) > 0.8 * len(answers)


def test_stopped_process_is_silent_and_tells_nothing_old_when_it_goes_on(
    house: MeteredHouse,
) -> None:
    house.send(signal.SIGSTOP)
    assert house.listen(0.05) is None
    assert not any(house.ask_for(2.5))
    house.send(signal.SIGCONT)
    answers = house.ask_for(2.0)
    assert check_ages(answers) > 5, "it comes back"


def test_question_that_waited_for_a_stopped_process_is_not_answered_late(
    house: MeteredHouse,
) -> None:
    """An inverter would take the answer for that to its next question."""
    house.wait_for_answer()
    for lasts_s in (0.5, 2.5):
        house.send(signal.SIGSTOP)
        time.sleep(0.05)
        assert house.ask(lasts_s) is None
        house.send(signal.SIGCONT)
        assert house.listen(1.0) is None
        house.wait_for_answer()


def test_hang_of_the_loop_is_silence_and_nothing_old_afterwards(house: MeteredHouse) -> None:
    house.wait_for_answer()
    house.send(signal.SIGUSR1)
    time.sleep(0.05)
    asked_s = time.monotonic()
    assert house.ask(HANG_S + 1.0) is None, "not answered when the hang is over"
    assert time.monotonic() - asked_s > HANG_S
    house.send(signal.SIGUSR1)
    answers = house.ask_for(HANG_S + 2.0)
    assert 5 < check_ages(answers) < len(answers) - 10


def test_full_processors_make_answers_late_or_none_but_never_old(house: MeteredHouse) -> None:
    loop = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(loop) for _ in range(BUSY_PROCESSES)]
    try:
        assert check_ages(house.ask_for(3.0)) > 5
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_killed_process_is_silent_for_good(tmp_path: Path) -> None:
    with metered_house(tmp_path) as house:
        assert house.ask() is not None
        os.kill(house.process.pid, signal.SIGKILL)
        house.process.wait()
        house.listen(0.05)  # What it had handed to the port before.
        assert not any(house.ask_for(1.0))
