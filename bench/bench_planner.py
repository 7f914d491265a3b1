"""How good plans are, how fast they are made, and what bulk reads gain.

    python bench/bench_planner.py [seed]

Ratio to the optimum: the wire time of each rule's reads over that of the cheapest ones, for all
registers of each map in maps/ and for random subsets of them, at 9600 and 19200 baud and with 5
and 50 ms turnaround. The optimum is ours, which the tests compare with brute force; here it is
checked once more on every random set that is small enough. The rules are told the unit's longest
read, as people who use them find out:

- seed: greedily from the first register, up to 40 registers at once, holes up to 20;
- Telegraf: greedily, up to 125 registers at once, holes up to a fixed number (its request
  optimisation is given 0, 4 and 16 here);
- one by one: each value in a request of its own.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, pairwise

from grug.codec.registers import RegisterMap
from grug.config.loads import spans_of
from grug.model import Span, Table
from grug.planner.bound import sum_of_layers
from grug.planner.plan import ReadCost, ReadLimits, plan_reads, plan_s
from grug.planner.schedule import Group, UnitLoad, line_bound, schedule_line
from grug.planner.traits import UnitTraits, WireTiming
from grug.planner.units import Unit
from grug.protocol.rtu import character_s, interframe_delay_s
from grug.transport.maps import load_map, map_models

SUBSETS = 40
"""Random subsets of each map."""
BRUTE_MAX = 9
"""Values of a set that is compared with all its partitions into intervals."""
HOUSES = 100
"""Lines that schedules are made for, of each kind."""
PERIODS = {
    "usual periods": (0.2, 0.4, 1.0, 2.0, 10.0, 60.0),
    "odd periods": (0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
}
LINES = [(baudrate, delay_s) for baudrate in (9600, 19200) for delay_s in (0.005, 0.05)]

Rule = Callable[[Sequence[Span], int], list[Span]]


def cost_of(baudrate: int, turnaround_s: float) -> ReadCost:
    """A line of 8N1 with an RS485 adapter."""
    gap_s = max(interframe_delay_s(baudrate), 0.005)
    return ReadCost(character_s(baudrate, 10), gap_s, turnaround_s)


def greedy(spans: Sequence[Span], words_max: int, holes_max: int) -> list[Span]:
    """Join each value to the read before it while that stays short and the hole is small."""
    reads: list[Span] = []
    for span in sorted(spans):
        if reads and reads[-1].table is span.table:
            last = reads[-1]
            end = max(last.end, span.end)
            if span.address - last.end <= holes_max and end - last.address <= words_max:
                reads[-1] = Span(span.table, last.address, end - last.address)
                continue
        reads.append(span)
    return reads


RULES: dict[str, Rule] = {
    "seed": lambda spans, most: greedy(spans, min(most, 40), 20),
    "telegraf 0": lambda spans, most: greedy(spans, most, 0),
    "telegraf 4": lambda spans, most: greedy(spans, most, 4),
    "telegraf 16": lambda spans, most: greedy(spans, most, 16),
    "one by one": lambda spans, most: list(spans),
}


def reads_s(reads: Iterable[Span], cost: ReadCost) -> float:
    """Wire time of some reads."""
    return sum(cost.read_s(span.table, span.count) for span in reads)


def brute_s(spans: Sequence[Span], cost: ReadCost, words_max: int) -> float:
    """The cheapest way to cut sorted values into intervals; every way is tried."""
    best_s = math.inf
    for cuts in (c for n in range(len(spans)) for c in combinations(range(1, len(spans)), n)):
        ends = [0, *cuts, len(spans)]
        total_s = 0.0
        for first, last in pairwise(ends):
            part = spans[first:last]
            end = max(span.end for span in part)
            is_legal = len({span.table for span in part}) == 1
            if not is_legal or end - part[0].address > words_max:
                total_s = math.inf
                break
            total_s += cost.read_s(part[0].table, end - part[0].address)
        best_s = min(best_s, total_s)
    return best_s


def words_of(register_map: RegisterMap) -> list[Span]:
    """The spans of all registers of words; the rules know no other tables."""
    spans = spans_of(register_map.registers.values())
    return [span for span in spans if not span.table.is_bits]


def ratios(seed: int) -> None:
    """Print how far each rule is from the optimum."""
    dice = random.Random(seed)
    print("wire time over the optimum: whole map, and mean (worst) of random subsets of it")
    print(f"{'map':22}{'values':>7}" + "".join(f"{rule:>22}" for rule in RULES))
    overall: dict[str, list[float]] = {rule: [] for rule in RULES}
    compared = 0
    for model in map_models():
        register_map = load_map(model)
        spans = words_of(register_map)
        words_max = register_map.facts.words_max
        limits = ReadLimits(words_max=words_max)
        cells: dict[str, list[list[float]]] = {rule: [[], []] for rule in RULES}
        for turn in range(SUBSETS + 1):
            count = len(spans) if not turn else dice.randint(1, min(len(spans), 60))
            chosen = sorted(dice.sample(spans, count))
            for baudrate, delay_s in LINES:
                cost = cost_of(baudrate, delay_s)
                ours_s = plan_s(plan_reads(chosen, cost, limits), cost)
                if count <= BRUTE_MAX:
                    assert math.isclose(ours_s, brute_s(chosen, cost, words_max), rel_tol=1e-9)
                    compared += 1
                for rule, reads_of in RULES.items():
                    ratio = reads_s(reads_of(chosen, words_max), cost) / ours_s
                    cells[rule][turn > 0].append(ratio)
                    overall[rule].append(ratio)
        row = "".join(
            f"{statistics.mean(whole):8.2f} {statistics.mean(parts):6.2f} ({max(parts):4.1f})"
            for whole, parts in cells.values()
        )
        print(f"{model:22}{len(spans):7}{row}")
    for rule, values in overall.items():
        print(f"  {rule:12} mean {statistics.mean(values):5.2f}, worst {max(values):6.2f}")
    print(f"  ours         mean  1.00, worst   1.00; equal to brute force on {compared} small sets")


def bulk_reads() -> None:
    """Print what the bulk reads of the seed's own register sets gain over single ones."""
    print("\nbulk reads of the seed's register sets, over a read for each value")
    print(
        f"{'set':34}{'values':>7}{'baud':>7}{'delay':>7}{'silence':>9}"
        f"{'single':>10}{'seed':>9}{'ours':>9}{'gain':>7}"
    )
    acrel = load_map("acrel_1_phase")
    solis = load_map("solis_s5_eh1p")
    sets = {
        "SDM630, all": (load_map("eastron_sdm630"), None, (9600, 19200)),
        "SDM120, all": (load_map("eastron_sdm120"), None, (2400, 9600)),
        "Acrel, all": (acrel, None, (9600,)),
        "Solis, all inputs": (solis, None, (9600,)),
        "Solis, 40 words that are neighbours": (solis, 40, (9600,)),
        "ABB Terra, all": (load_map("abb_terra"), None, (9600,)),
    }
    for name, (register_map, neighbours, baudrates) in sets.items():
        spans = words_of(register_map)
        if neighbours:
            spans = most_crowded(spans, neighbours)
        elif name.endswith("inputs"):
            spans = [span for span in spans if span.table is Table.INPUT_REGISTER]
        for baudrate in baudrates:
            for delay_s in (0.015, 0.05):
                print_gain(name, register_map, spans, baudrate, delay_s)


def most_crowded(spans: Sequence[Span], words: int) -> list[Span]:
    """The most values that one read of so many words has."""
    windows = [
        [
            span
            for span in spans
            if span.table is first.table
            and first.address <= span.address
            and span.end <= first.address + words
        ]
        for first in spans
    ]
    return max(windows, key=len)


def print_gain(
    name: str, register_map: RegisterMap, spans: Sequence[Span], baudrate: int, delay_s: float
) -> None:
    """One row: milliseconds for all values, by three ways."""
    facts = register_map.facts
    gap_s = max(interframe_delay_s(baudrate), 0.005)
    timing = WireTiming(character_s(baudrate, 10), gap_s, 0.3)
    traits = UnitTraits(facts.words_max, turnaround_s=delay_s, gap_s=facts.gap_s)
    cost = traits.read_cost(timing)
    single_s = reads_s(spans, cost)
    seed_s = reads_s(RULES["seed"](spans, facts.words_max), cost)
    ours_s = plan_s(plan_reads(spans, cost, traits.limits), cost)
    print(
        f"{name:34}{len(spans):7}{baudrate:7}{1e3 * delay_s:4.0f} ms{1e3 * facts.gap_s:6.0f} ms"
        f"{1e3 * single_s:7.0f} ms{1e3 * seed_s:6.0f} ms{1e3 * ours_s:6.0f} ms"
        f"{single_s / ours_s:6.1f}x"
    )


def schedules(seed: int) -> None:
    """Print how near random lines' schedules are to the lower bound."""
    print(f"\nschedules of {HOUSES} random lines each, where the bound leaves a tenth free")
    print("  layers: the sum, over all j, of the cheapest plan of what is needed j times or more")
    for name, periods in PERIODS.items():
        dice = random.Random(seed)
        found: list[float] = []
        layers: list[float] = []
        late = 0
        longest_s = 0.0
        while len(found) < HOUSES:
            timing, units = random_line(dice, periods)
            bound = line_bound(timing, units)
            if bound <= 0.9:
                began_s = time.process_time()
                schedule = schedule_line(timing, units)
                longest_s = max(longest_s, time.process_time() - began_s)
                layers.append(schedule.used / layers_of(timing, units))
                found.append(schedule.used / bound)
                late += bool(schedule.late)
        print(f"  {name}: {late} with late readings; the longest took {longest_s:.1f} s of CPU")
        for yardstick, ratios in (("the bound", found), ("layers", layers)):
            over = sum(ratio > 1.05 for ratio in ratios)
            print(
                f"    over {yardstick}: mean {statistics.mean(ratios):.4f},"
                f" worst {max(ratios):.3f}, {over} over 1.05"
            )


def layers_of(timing: WireTiming, units: Sequence[UnitLoad]) -> float:
    """``sum_of_layers`` of a line."""
    return sum(
        sum_of_layers(unit.groups, unit.traits.read_cost(timing), unit.traits.limits)
        for unit in units
    )


def random_line(dice: random.Random, periods: Sequence[float]) -> tuple[WireTiming, list[UnitLoad]]:
    """One to four units of one to four groups each."""
    timing = WireTiming(character_s(dice.choice((9600, 19200, 38400))), 0.005, 0.3)
    wanted: list[list[Group]] = []
    for _ in range(dice.randint(1, 4)):
        groups = []
        for period_s in sorted(dice.sample(periods, dice.randint(1, 4))):
            base = dice.choice((0, 0, 200))
            spans = {
                Span(Table.INPUT_REGISTER, base + dice.randrange(120), dice.choice((1, 2)))
                for _ in range(dice.randint(1, 12))
            }
            groups.append(Group(f"{period_s:g} s", period_s, tuple(sorted(spans))))
        wanted.append(groups)
    longest_s = 0.5 * min(group.period_s for groups in wanted for group in groups)
    return timing, [
        UnitLoad(
            f"unit {number}",
            number,
            tuple(groups),
            UnitTraits(turnaround_s=dice.choice((0.005, 0.015, 0.04)), transaction_s_max=longest_s),
        )
        for number, groups in enumerate(wanted, 1)
    ]


def planning(seed: int) -> None:
    """Print how long planning takes."""
    print("\nplanning, best of ten")
    cost = cost_of(9600, 0.02)
    for count, goal_ms in ((40, 1.0), (660, 25.0)):
        dice = random.Random(seed)
        spans: list[Span] = []
        end = 0
        for _ in range(count):
            start = end + dice.choice((0, 0, 0, 0, 1, 5, 30))
            spans.append(Span(Table.INPUT_REGISTER, start, dice.choice((1, 2))))
            end = spans[-1].end
        best_s = best_of(lambda spans=spans: plan_reads(spans, cost))
        unit = Unit("line", 1, UnitTraits(), WireTiming(0.001, 0.005, 0.3), lambda message: None)
        wanted = tuple(spans)
        unit.plan(wanted)
        again_s = best_of(lambda unit=unit, wanted=wanted: unit.plan(wanted))
        print(
            f"  {count} values: {1e3 * best_s:.2f} ms (goal {goal_ms:g});"
            f" once more: {1e6 * again_s:.1f} us"
        )


def best_of(work: Callable[[], object]) -> float:
    """The shortest of ten times, in seconds."""
    best_s = math.inf
    for _ in range(10):
        started = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - started)
    return best_s


def main() -> None:
    """Print it all."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    ratios(seed)
    bulk_reads()
    schedules(seed)
    planning(seed)


if __name__ == "__main__":
    main()
