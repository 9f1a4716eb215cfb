"""The table of results as values: one row a configuration, over seeds. The terminal and the page show the same one."""

from dataclasses import dataclass

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


def verdicts(runs: list[RunRecord], adaptive: list[str], p95, quality) -> list[str]:
    """For each adaptive policy, its p95 as a ratio to that of the best it has to beat, seed by seed: its mixes, and static
    plans with the same quality or more. `p95` and `quality` measure a run."""
    lines = []
    for policy in adaptive:
        ratios = [p95(run) / best for run in runs if run.configuration == policy and p95(run)
                  and (best := _best_rival(runs, run, p95, quality))]  # fmt: skip
        ratio = ratio_interval(ratios)
        if ratio is None:
            continue
        mean, low, high = ratio
        span = f" [{low:.2f}, {high:.2f}]" if len(ratios) > 1 else ""
        lines.append(f"{policy}: p95 x{mean:.2f}{span} of the best static plan, or mix of two, with the same quality or more"
                     f" ({len(ratios)} seed{'s' if len(ratios) > 1 else ''}; below 1 is better)")  # fmt: skip
    return lines


def _best_rival(runs, run, p95, quality):
    times = [p95(other) for other in runs if other.seed == run.seed and _is_rival(other, run, quality)]
    return min((time for time in times if time), default=None)


def _is_rival(other, run, quality):
    name = other.configuration
    if name.startswith("mix "):
        return name.endswith(f" for {run.configuration}")
    fixed = name.split()[0] in ("static", "manual")
    return fixed and bool(other.done) and quality(other) >= quality(run) - SAME_QUALITY
