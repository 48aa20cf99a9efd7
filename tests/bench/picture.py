"""Picture: lines over one axis as an SVG, written by hand so that nothing needs installing."""

import math
from collections.abc import Sequence
from html import escape

import msgspec

_COLOURS = ("#1f6f8b", "#b4541a", "#5b7f2b", "#7a4a8c")
_WIDTH, _LEFT, _RIGHT, _TOP, _HEIGHT, _GAP = 860, 70, 24, 56, 190, 74


class Line(msgspec.Struct, frozen=True):
    name: str
    points: Sequence[tuple[float, float]]


class Panel(msgspec.Struct, frozen=True):
    """A diagram of its own; its vertical axis begins at 0, so that what is flat looks flat."""

    title: str
    lines: Sequence[Line]


def svg(title: str, across: str, panels: Sequence[Panel]) -> str:
    """The panels one below the other over the same horizontal axis, which begins at 0 as well."""
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    farthest = max(x for panel in panels for line in panel.lines for x, _ in line.points)
    drawn = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" font-family="system-ui, sans-serif" font-size="12" fill="#333" role="img" '
            f'aria-label="{escape(title)}">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    for n, panel in enumerate(panels):
        drawn += _panel(panel, _TOP + n * (_HEIGHT + _GAP) + 16, farthest)
    drawn.append(f'<text x="{_WIDTH - _RIGHT}" y="{height - 10}" text-anchor="end">{escape(across)}</text>')
    return "\n".join([*drawn, "</svg>\n"])


def _panel(panel: Panel, top: float, farthest: float) -> list[str]:
    wide, foot = _WIDTH - _LEFT - _RIGHT, top + _HEIGHT
    step = _step(max([y for line in panel.lines for _, y in line.points] + [1e-9]))
    most = step * math.ceil(max(y for line in panel.lines for _, y in line.points) / step or 1)
    drawn = [f'<text x="{_LEFT}" y="{top - 10}" font-weight="600">{escape(panel.title)}</text>']
    for n in range(round(most / step) + 1):
        y = foot - n * step / most * _HEIGHT
        drawn.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#e4e4e4"/>')
        drawn.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{n * step:g}</text>')
    across = _step(farthest)
    for n in range(int(farthest / across) + 1):
        x = _LEFT + n * across / farthest * wide
        drawn.append(f'<text x="{x:.1f}" y="{foot + 18}" text-anchor="middle">{n * across:,.0f}</text>')
    at = float(_LEFT)
    for n, line in enumerate(panel.lines):
        colour = _COLOURS[n % len(_COLOURS)]
        path = "L".join(
            f"{_LEFT + x / farthest * wide:.1f} {foot - y / most * _HEIGHT:.1f}" for x, y in line.points
        )
        drawn.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(f'<path d="M{at:.1f} {foot + 36}h18" stroke="{colour}" stroke-width="3"/>')
        drawn.append(f'<text x="{at + 24:.1f}" y="{foot + 40}">{escape(line.name)}</text>')
        at += 48 + 7 * len(line.name)
    return drawn


def _step(most: float) -> float:
    """A round distance between four to eight marks."""
    power = 10 ** math.floor(math.log10(most))
    return next(power * part for part in (0.1, 0.2, 0.5, 1, 2) if most / (power * part) <= 8)
