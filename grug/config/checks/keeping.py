"""The site, the log and the database."""

from __future__ import annotations

import re

from grug.config.build import quoted
from grug.config.checks.context import HouseCheck

_SERVE = re.compile(r"|(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}")
TOKEN_LENGTH_MIN = 12
PER_YEAR_MAX = 20_000
SETTLE_S_MAX = 5.0
FRAMES_BYTES_MIN = 10_000_000
"""Two segments and what is being written."""
_SHIP_TO = re.compile(r"|chdb:|https?://\S+")


def check_keeping(check: HouseCheck) -> None:
    """Where things are kept, how much, and who may read them."""
    log, ship = check.house.log, check.house.ship
    check.within(("site", "name"), bool(check.house.site.name), "is empty")
    check.within(("site", "state"), bool(check.house.site.state), "is empty")
    _writes(check)
    check.within(("log", "block"), log.block > 0, "must be longer than 0 s")
    check.within(("log", "max_bytes"), log.max_bytes >= 1_000_000, "must be at least 1_000_000")
    check.within(("log", "max_age_days"), log.max_age_days > 0, "must be more than 0")
    check.within(("log", "reserve_bytes"), log.reserve_bytes >= 0, "cannot be negative")
    is_enough = log.frames_max_bytes >= FRAMES_BYTES_MIN
    text = f"must be at least {FRAMES_BYTES_MIN:_}; frames = false keeps none"
    check.within(("log", "frames_max_bytes"), is_enough, text)
    is_place = _SERVE.fullmatch(log.serve) is not None
    text = f"{quoted(log.serve)} is no place to serve: '0.0.0.0:8765', '127.0.0.1:8765' or ''"
    check.within(("log", "serve"), is_place, text)
    has_token = not log.serve or len(log.token) >= TOKEN_LENGTH_MIN
    text = f"needs at least {TOKEN_LENGTH_MIN} characters: who has it reads the whole log"
    check.within(("log", "token"), has_token, text)
    is_known = _SHIP_TO.fullmatch(ship.to) is not None
    text = f"{quoted(ship.to)} is no database: 'chdb:', 'http://host:8123/database' or ''"
    check.within(("ship", "to"), is_known, text)


def _writes(check: HouseCheck) -> None:
    """The budgets of registers that wear out."""
    writes = check.house.writes
    check.within(("writes", "interval"), writes.interval >= 0, "cannot be negative")
    for key in ("per_year", "device_per_year"):
        is_good = 0 <= getattr(writes, key) <= PER_YEAR_MAX
        text = f"must be in 0..{PER_YEAR_MAX}: EEPROM is good for some 100000 writes in all"
        check.within(("writes", key), is_good, text)
    is_good = 0 < writes.settle <= SETTLE_S_MAX
    check.within(
        ("writes", "settle"), is_good, f"must be longer than 0 s, {SETTLE_S_MAX:g} at most"
    )
