"""Brings a published trace to the size of this machine and of the model: lengths into the context, times to a load."""

import math
import random

from .arrivals import Arrival, Trace, mean_tokens, total_tokens
from .complaint import Complaint
from .intervals import percentile


def fit_lengths(arrivals: list[Arrival], shortest: int, longest: int) -> list[Arrival]:
    """All lengths by one factor, so that 99 of 100 prompts are at most `longest` tokens; the rest are cut to it. Traces
    that fit already stay as they are."""
    factor = min(1.0, longest / percentile([arrival.prompt_tokens for arrival in arrivals], 0.99))
    return [
        Arrival(
            a.at_s,
            min(max(round(a.prompt_tokens * factor), shortest), longest),
            max(1, round(a.output_tokens * factor)),
        )
        for a in arrivals
    ]


def window_of_load(name: str, arrivals: list[Arrival], seed: int, rate: float, duration_s: float) -> Trace:
    """A stretch of the trace that begins at a random place, with its times compressed or stretched so that `rate` prompt
    tokens a second arrive on average over `duration_s`."""
    rng = random.Random(f"{name} {seed}")
    count = min(len(arrivals), max(1, round(rate * duration_s / mean_tokens(arrivals))))
    start = rng.randint(0, len(arrivals) - count)
    part = arrivals[start : start + count]
    wanted_s = total_tokens(part) / rate
    span_s = (part[-1].at_s - part[0].at_s) * (count / (count - 1) if count > 1 else 1)
    factor = wanted_s / span_s if span_s > 0 else 0.0
    return Trace(name, tuple(_moved(part, factor)))


def window_of_time(name: str, arrivals: list[Arrival], seed: int, time_scale: float, duration_s: float) -> Trace:
    """A stretch of the trace that lasts `duration_s` once its times are divided by `time_scale`, from a random place."""
    rng = random.Random(f"{name} {seed}")
    latest_s = max(0.0, arrivals[-1].at_s - duration_s * time_scale)
    start_s = rng.uniform(0.0, latest_s)
    part = [a for a in arrivals if start_s <= a.at_s < start_s + duration_s * time_scale]
    if not part:
        raise Complaint(f"no request of {name} falls into seed {seed}'s window; give a longer --duration")
    return Trace(name, tuple(_moved(part, 1 / time_scale)))


def without_times(name: str, arrivals: list[Arrival], seed: int, rate: float, duration_s: float) -> Trace:
    """Lengths from the file, arrivals as a Poisson process of `rate` prompt tokens a second."""
    rng = random.Random(f"{name} {seed}")
    jobs_per_s = rate / mean_tokens(arrivals)
    at, chosen = rng.expovariate(jobs_per_s), []
    while at < duration_s:
        length = rng.choice(arrivals)
        chosen.append(Arrival(at, length.prompt_tokens, length.output_tokens))
        at += rng.expovariate(jobs_per_s)
    return Trace(name, tuple(chosen))


def offered_load(trace: Trace, capacity: float) -> float:
    """Prompt tokens a second until the last job comes, as a share of `capacity` (the same unit)."""
    last_s = trace.arrivals[-1].at_s if trace.arrivals else 0.0
    return total_tokens(trace.arrivals) / capacity / last_s if last_s > 0 else math.inf


def _moved(part, factor):
    first = part[0].at_s
    return [Arrival((a.at_s - first) * factor, a.prompt_tokens, a.output_tokens) for a in part]
