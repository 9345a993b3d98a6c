"""A short piece of an arm's line with its marker, for legends in HTML."""

from __future__ import annotations

from lab.report.looks import Look

MARKERS = {
    "o": '<circle cx="18" cy="7" r="3.4"/>',
    "s": '<path d="M14.8 3.8h6.4v6.4h-6.4z"/>',
    "^": '<path d="M18 3l4 7.4h-8z"/>',
    "v": '<path d="M18 11l4-7.4h-8z"/>',
    "D": '<path d="M18 2.6l4.4 4.4-4.4 4.4-4.4-4.4z"/>',
    "P": '<path d="M16.4 3h3.2v2.4h2.4v3.2h-2.4v2.4h-3.2v-2.4h-2.4v-3.2h2.4z"/>',
    "x": '<path d="M14.8 3.8l6.4 6.4m0-6.4l-6.4 6.4" fill="none"/>',
}


def draw(look: Look) -> str:
    """SVG of 36 × 14 units, decorative: the arm's name stands beside it."""
    dashes = " ".join(f"{d * 1.4:g}" for d in look.line[1])
    colour = f"var(--c{look.colour[1:]})"
    paint = f'stroke="{colour}" fill="{colour}" stroke-width="1.6"'
    line = f'<path d="M1 7h34" fill="none" stroke-dasharray="{dashes or "none"}"/>'
    return f'<svg class="swatch" viewBox="0 0 36 14" aria-hidden="true" {paint}>{line}{MARKERS[look.marker]}</svg>'
