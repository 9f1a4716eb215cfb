"""What a trace is, wherever it comes from: jobs with a time and lengths. Times are seconds from the trace's start,
lengths are tokens."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arrival:
    at_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Burst:
    """A time of high load that the trace's maker knows of."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Trace:
    name: str
    arrivals: tuple[Arrival, ...]
    bursts: tuple[Burst, ...] = ()


def total_tokens(arrivals) -> int:
    """Prompt tokens of all of them."""
    return sum(arrival.prompt_tokens for arrival in arrivals)


def mean_tokens(arrivals) -> float:
    """Prompt tokens of one, on average."""
    return total_tokens(arrivals) / len(arrivals)
