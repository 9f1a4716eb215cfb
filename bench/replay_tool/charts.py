"""Charts over time as inline SVG, with the classes of the page's style: bars, lines, steps and dots. Pure functions."""

from dataclasses import dataclass, field
from html import escape
from typing import Iterable

WIDTH, HEIGHT = 480, 170
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 24, 30  # margins
TICKS = 4

Points = list[tuple[float, float]]


@dataclass
class Chart:
    """Series are pairs of a class name of the style and points (seconds, value)."""

    title: str
    unit: str
    end_s: float  # of the time axis
    low: float = 0.0
    high: float | None = None  # of the value axis; None: the largest value
    bars: Points = field(default_factory=list)  # (start, value), all equally wide
    bar_s: float = 1.0
    steps: list[tuple[str, Points]] = field(default_factory=list)
    lines: list[tuple[str, Points]] = field(default_factory=list)
    dots: list[tuple[str, Points]] = field(default_factory=list)
    shades: list[tuple[float, float]] = field(default_factory=list)  # (start, end): bursts


class Scale:
    """Times and values to pixels."""

    def __init__(self, chart: Chart):
        self.end = chart.end_s or 1.0
        self.low = chart.low
        self.high = chart.high if chart.high is not None else max(self._values(chart), default=1.0)
        if self.high <= self.low:
            self.high = self.low + 1.0

    @staticmethod
    def _values(chart) -> Iterable[float]:
        yield from (value for _, value in chart.bars)
        for series in (*chart.steps, *chart.lines, *chart.dots):
            yield from (value for _, value in series[1])

    def x(self, at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(at, 0.0), self.end) / self.end

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def to_svg(chart: Chart) -> str:
    scale = Scale(chart)
    parts = [f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(chart.title)}'>"]
    parts += [_shade(scale, start, end) for start, end in chart.shades]
    parts += _axes(chart, scale)
    parts += [_bar(scale, at, chart.bar_s, value) for at, value in chart.bars]
    parts += [_polyline(scale, name, _stepped(points, chart.end_s)) for name, points in chart.steps]
    parts += [_polyline(scale, name, points) for name, points in chart.lines]
    for name, points in chart.dots:
        parts += [f"<circle class='{name}' cx='{scale.x(at):.1f}' cy='{scale.y(value):.1f}' r='2'/>" for at, value in points]
    return "".join(parts) + "</svg>\n"


def _axes(chart, scale):
    parts = [f"<text x='{LEFT}' y='15' class='title'>{escape(chart.title)}</text>"]
    for tick in range(TICKS + 1):
        value = scale.low + (scale.high - scale.low) * tick / TICKS
        row = scale.y(value)
        parts.append(f"<line x1='{LEFT}' y1='{row:.1f}' x2='{WIDTH - RIGHT}' y2='{row:.1f}' class='grid'/>")
        parts.append(f"<text x='{LEFT - 5}' y='{row + 4:.1f}' text-anchor='end'>{short(value)}</text>")
        at = scale.end * tick / TICKS
        parts.append(f"<text x='{scale.x(at):.1f}' y='{HEIGHT - BOTTOM + 14}' text-anchor='middle'>{short(at)}</text>")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f"<text x='11' y='{middle}' text-anchor='middle' transform='rotate(-90 11 {middle})'>{escape(chart.unit)}</text>")
    parts.append(f"<text x='{(LEFT + WIDTH - RIGHT) / 2}' y='{HEIGHT - 3}' text-anchor='middle'>seconds</text>")
    return parts


def _shade(scale, start, end):
    x, width = scale.x(start), scale.x(end) - scale.x(start)
    return f"<rect class='burst' x='{x:.1f}' y='{TOP}' width='{width:.1f}' height='{HEIGHT - TOP - BOTTOM}'/>"


def _bar(scale, at, width_s, value):
    x, y = scale.x(at), scale.y(value)
    width = max(0.5, scale.x(at + width_s) - x - 0.5)
    return f"<rect class='bar' x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{HEIGHT - BOTTOM - y:.1f}'/>"


def _polyline(scale, name, points):
    text = " ".join(f"{scale.x(at):.1f},{scale.y(value):.1f}" for at, value in points)
    return f"<polyline class='{name}' points='{text}'/>"


def _stepped(points, end_s):
    """Corners of a curve that keeps each value until the next."""
    corners = []
    for number, (at, value) in enumerate(points):
        corners.append((at, value))
        corners.append((points[number + 1][0] if number + 1 < len(points) else max(at, end_s), value))
    return corners


def short(value: float) -> str:
    """Few digits, for an axis."""
    return f"{value / 1000:.3g}k" if abs(value) >= 10_000 else f"{value:.3g}"
