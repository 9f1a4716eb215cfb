"""Load made from a seed: `square` (on, then off), `poisson` (steady) and `adversarial` (a square wave whose period is the
policy's dwell time, so that a policy that follows it is always late). Equal arguments give equal traces."""

import math
import random
from dataclasses import dataclass

from .arrivals import Arrival, Burst, Trace


@dataclass(frozen=True)
class Lengths:
    """Lognormal lengths in tokens, as published document traces have them, cut to what the model takes."""

    median_prompt: float
    median_output: float
    shortest: int
    longest: int
    sigma: float = 0.6  # of the logarithm

    def draw(self, rng: random.Random) -> tuple[int, int]:
        """Prompt and output tokens of one job."""
        prompt = self.median_prompt * math.exp(rng.gauss(0, self.sigma))
        output = self.median_output * math.exp(rng.gauss(0, self.sigma))
        return round(min(max(prompt, self.shortest), self.longest)), max(1, round(output))


@dataclass(frozen=True)
class Phase:
    """A stretch of time with one rate."""

    start_s: float
    end_s: float
    rate: float  # jobs/s


def wave(duration_s: float, on_s: float, off_s: float, on_rate: float, off_rate: float) -> list[Phase]:
    """Phases that begin with an "on" one and fill the duration."""
    phases, start, on = [], 0.0, True
    while start < duration_s - 1e-9:
        end = min(start + (on_s if on else off_s), duration_s)
        phases.append(Phase(start, end, on_rate if on else off_rate))
        start, on = end, not on
    return phases


def arrival_times(rng: random.Random, phases: list[Phase]) -> list[float]:
    """A Poisson process with the phases' rates: seconds, ascending."""
    times = []
    for phase in phases:
        at = phase.start_s
        while phase.rate > 0:
            at += rng.expovariate(phase.rate)
            if at >= phase.end_s:
                break
            times.append(at)
    return times


def generate(name: str, seed: int, phases: list[Phase], draw) -> Trace:
    """A trace of the phases; `draw(rng)` gives a job's prompt and output tokens. Each phase of the highest rate is a
    burst where there are lower ones."""
    rng = random.Random(f"{name} {seed}")
    arrivals = tuple(Arrival(at, *draw(rng)) for at in arrival_times(rng, phases))
    rates = {phase.rate for phase in phases}
    bursts = tuple(Burst(p.start_s, p.end_s) for p in phases if len(rates) > 1 and p.rate == max(rates))
    return Trace(name, arrivals, bursts)
