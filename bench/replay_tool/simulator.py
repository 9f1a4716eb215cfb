"""A queue in which workers take jobs in the order of arrival, one at a time, each for its engine time. It stands for the
real one where runs are compared that nobody can run: what batching gains is in the engine times already, since they are
shares of the steps that jobs took part in."""

import heapq
from dataclasses import dataclass


@dataclass(frozen=True)
class SimulatedJob:
    arrival_s: float
    work_s: float


def simulate(jobs: list[SimulatedJob], workers: int, works: list[float] | None = None) -> list[tuple[float, float]]:
    """Start and end of each job, seconds. `works` replaces the jobs' own. REQUIRES: jobs in the order of arrival."""
    free = [0.0] * workers
    spans = []
    for number, job in enumerate(jobs):
        start = max(job.arrival_s, heapq.heappop(free))
        end = start + (job.work_s if works is None else works[number])
        heapq.heappush(free, end)
        spans.append((start, end))
    return spans
