"""Percentiles of jobs, and means over seeds with their 95% interval (Student's t)."""

import math
import statistics
from dataclasses import dataclass

# Two-sided 95% quantiles of Student's t by degrees of freedom; beyond the last the normal one.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
      2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


def percentile(values, share: float) -> float:
    """By nearest rank: the smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


@dataclass(frozen=True)
class Interval:
    mean: float
    half: float | None  # of the 95% interval; None: one value says nothing of it
    count: int


def interval(values) -> Interval | None:
    """Of the values that are not None; None where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = statistics.fmean(known)
    if len(known) == 1:
        return Interval(mean, None, 1)
    quantile = _T[len(known) - 2] if len(known) - 2 < len(_T) else 1.96
    return Interval(mean, quantile * statistics.stdev(known) / math.sqrt(len(known)), len(known))


def ratio_interval(values) -> tuple[float, float, float] | None:
    """Geometric mean of ratios, and the ends of its 95% interval (equal to it where there is one value only)."""
    logs = interval([math.log(value) for value in values if value is not None and value > 0])
    if logs is None:
        return None
    half = logs.half or 0.0
    return math.exp(logs.mean), math.exp(logs.mean - half), math.exp(logs.mean + half)
