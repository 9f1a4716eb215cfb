"""The table of results as values: one row a configuration, over seeds. The terminal and the page show the same one."""

import statistics
from dataclasses import dataclass
from typing import Callable

from .intervals import Interval, interval, ratio_interval
from .measures import Column
from .records import RunRecord

SAME_QUALITY = 1e-6


@dataclass(frozen=True)
class Row:
    label: str
    detail: str
    cells: list[Interval | None]  # by column


def rows_of(runs: list[RunRecord], columns: list[Column]) -> list[Row]:
    """Configurations in the order of their first run."""
    labels = list(dict.fromkeys(run.configuration for run in runs))
    return [_row(label, [run for run in runs if run.configuration == label], columns) for label in labels]


def _row(label, runs, columns):
    details = [run.detail for run in runs if run.detail]
    return Row(label, details[0] if details else "", [interval([c.measure(run) for run in runs]) for c in columns])


def cell_text(cell: Interval | None, column: Column) -> str:
    """`12.3 ±0.4`; without the interval where there is one seed, `-` where nothing was measured."""
    if cell is None:
        return "-"
    factor = 100 if column.percent else 1
    text = f"{cell.mean * factor:.{column.digits}f}" + ("%" if column.percent else "")
    return text if cell.half is None else f"{text} ±{cell.half * factor:.{column.digits}f}"


def text_table(header: list[str], lines: list[list[str]]) -> str:
    """Columns padded with spaces; the first to the left, the others to the right."""
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths)))
        for line in [header, *lines]
    )


def show(rows: list[Row], columns: list[Column]) -> str:
    header = ["configuration", *(column.title for column in columns)]
    return text_table(header, [[row.label, *map(cell_text, row.cells, columns)] for row in rows])


@dataclass(frozen=True)
class Compared:
    """What a policy is judged by, each a measure of a run."""

    p95: Callable[[RunRecord], float | None]
    missed: Callable[[RunRecord], float | None]
    quality: Callable[[RunRecord], float | None]


def verdicts(runs: list[RunRecord], adaptive: list[str], by: Compared) -> list[str]:
    """Each adaptive policy beside the best that it has to beat, seed by seed: its mixes, and static plans with the same
    quality or more."""
    lines = []
    for policy in adaptive:
        pairs = [(run, _rivals(runs, run, by)) for run in runs if run.configuration == policy and run.done]
        pairs = [(run, rivals) for run, rivals in pairs if rivals]
        ratio = ratio_interval([by.p95(run) / min(map(by.p95, rivals)) for run, rivals in pairs])
        if ratio is None:
            continue
        mean, low, high = ratio
        span = f" [{low:.2f}, {high:.2f}]" if len(pairs) > 1 else ""
        line = f"{policy}: p95 x{mean:.2f}{span} of the best static plan, or mix of two, with the same quality or more"
        if all(by.missed(run) is not None for run, _ in pairs):
            own = statistics.fmean(by.missed(run) for run, _ in pairs)
            best = statistics.fmean(min(map(by.missed, rivals)) for _, rivals in pairs)
            line += f"; it missed {own:.1%} of the deadlines, the best of those {best:.1%}"
        lines.append(f"{line} ({_seeds(pairs)})")
    return lines + [line for policy in adaptive if (line := _beside_plan_0(runs, policy, by)) is not None]


def _beside_plan_0(runs, policy, by):
    """How much sooner jobs ended than with plan 0 for all."""
    slowest = {run.seed: by.p95(run) for run in runs if run.configuration == "static 0" and run.done}
    pairs = [slowest[run.seed] / by.p95(run) for run in runs if run.configuration == policy and run.done and run.seed in slowest]
    ratio = ratio_interval(pairs)
    if ratio is None:
        return None
    mean, low, high = ratio
    span = f" [{low:.2f}, {high:.2f}]" if len(pairs) > 1 else ""
    return f"{policy}: static 0's p95 is x{mean:.2f}{span} of its own ({_seeds(pairs)})"


def _seeds(pairs):
    return f"{len(pairs)} seed{'s' if len(pairs) > 1 else ''}"


def _rivals(runs, run, by):
    """Those of the same seed that have a result."""
    return [other for other in runs if other.seed == run.seed and other.done and _is_rival(other, run, by.quality)]


def _is_rival(other, run, quality):
    name = other.configuration
    if name.startswith("mix "):
        return name.endswith(f" for {run.configuration}")
    return name.split()[0] in ("static", "manual") and quality(other) >= quality(run) - SAME_QUALITY
