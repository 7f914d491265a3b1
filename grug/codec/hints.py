"""What a person probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Give ``; did you mean …?`` for the nearest choice, or the list of a few, or nothing."""
    known = list(choices)
    nearest = difflib.get_close_matches(word.lower(), [choice.lower() for choice in known], 1, 0.5)
    if nearest:
        original = next(choice for choice in known if choice.lower() == nearest[0])
        return f"; did you mean {original!r}?"
    return f"; one of {', '.join(known)}" if 0 < len(known) <= 12 else ""
