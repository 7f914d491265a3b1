"""What the pictures of plans and of replays have in common."""

from __future__ import annotations

from xml.sax.saxutils import escape


def svg_text(
    x: float,
    y: float,
    text: str,
    size: int = 13,
    colour: str = "#222",
    anchor: str = "start",
    weight: str = "normal",
) -> str:
    """Text at a place; ``anchor`` says which end of it is there."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"'
        f' text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
    )
