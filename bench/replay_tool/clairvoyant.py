"""The best that any choice of plans could have done, for who knows every arrival and every job's cost in advance: the
plan of each job that minimises the p95 (or the makespan), with at least the adaptive run's mean quality.

Two answers. The bound: jobs one after the other in the order of arrival, which no order of the same work beats in the
largest completion time on one worker. The search extends partial choices job by job and keeps of them only those that no other one beats in
everything that matters later: when each worker is free, the largest completion time so far, and the quality so far; so it is exact,
unless more than `limit` of them are left at once. The best found: the bound's choice, improved in the simulated engine (simulator.py) as long as
another plan for one or two jobs helps; it can be made, and nothing proves that no other is better.

The p95 by nearest rank is the largest completion time of up to 19 jobs, so that is the most it takes."""

import bisect
import heapq
import itertools
from dataclasses import dataclass

from .simulator import Cost, engine_ends

MOST_JOBS = 19
LIMIT = 20_000  # partial choices


@dataclass(frozen=True)
class PlannedJob:
    arrival_s: float
    tokens: int
    costs: dict[int, Cost]  # by plan


@dataclass(frozen=True)
class Optimum:
    plans: tuple[int, ...]
    p95_s: float  # largest completion time, submit to end
    makespan_s: float
    quality: float  # mean by the table, weighted by tokens
    exact: bool


@dataclass(frozen=True)
class _Label:
    free: tuple[float, ...]  # when each worker is free, ascending
    latest: float
    loss: float  # tokens times (1 - quality)
    plans: tuple[int, ...]

    def beats(self, other) -> bool:
        """In nothing worse."""
        return (
            self.latest <= other.latest
            and self.loss <= other.loss
            and all(mine <= theirs for mine, theirs in zip(self.free, other.free))
        )


def bound(jobs: list[PlannedJob], table: dict[int, float], quality: float, workers: int = 1,
                objective: str = "p95", limit: int = LIMIT) -> Optimum | None:  # fmt: skip
    """The choice with the smallest p95, or makespan, whose mean quality is at least `quality`; None where none has it.
    REQUIRES: at most MOST_JOBS jobs, in the order of arrival; table has every plan of every job."""
    tokens = sum(job.tokens for job in jobs)
    budget = (1 - quality) * tokens + 1e-9
    # What the jobs from each one on lose at least.
    least = [0.0]
    for job in reversed(jobs):
        least.append(least[-1] + min(job.tokens * (1 - table[plan]) for plan in job.costs))
    least.reverse()
    labels, exact = [_Label((0.0,) * workers, 0.0, 0.0, ())], True
    for number, job in enumerate(jobs):
        grown = [_extended(label, job, plan, table, objective) for label in labels for plan in job.costs]
        labels = _best_of([label for label in grown if label.loss + least[number + 1] <= budget])
        if len(labels) > limit:
            labels, exact = heapq.nsmallest(limit, labels, key=lambda label: (label.latest, sum(label.free))), False
    if not labels:
        return None
    best = min(labels, key=lambda label: _cost(label, objective))
    return _optimum(jobs, best, tokens, workers, exact)


def _extended(label, job, plan, table, objective):
    start = max(job.arrival_s, label.free[0])
    end = start + job.costs[plan].work_s
    latest = max(label.latest, end - job.arrival_s) if objective == "p95" else 0.0
    loss = label.loss + job.tokens * (1 - table[plan])
    return _Label(tuple(sorted((*label.free[1:], end))), latest, loss, (*label.plans, plan))


def _best_of(labels):
    """Those that no other one beats."""
    ordered = sorted(labels, key=lambda label: (label.loss, label.latest, label.free))
    if ordered and len(ordered[0].free) == 1:
        return _best_of_one_worker(ordered)
    kept = []
    for label in ordered:
        if not any(other.beats(label) for other in kept):
            kept.append(label)
    return kept


def _best_of_one_worker(ordered):
    """The same in less time. `latest` ascends and `free` descends along the stairs, which are the best of those with no
    higher loss."""
    latest, free, kept = [], [], []
    for label in ordered:
        place = bisect.bisect_right(latest, label.latest)
        if place > 0 and free[place - 1] <= label.free[0]:
            continue
        kept.append(label)
        end = place
        while end < len(free) and free[end] >= label.free[0]:
            end += 1
        latest[place:end], free[place:end] = [label.latest], [label.free[0]]
    return kept


def _cost(label, objective):
    return (label.latest if objective == "p95" else label.free[-1], label.free[-1], label.loss)


def _optimum(jobs, label, tokens, workers, exact):
    free, latest = [0.0] * workers, 0.0
    for job, plan in zip(jobs, label.plans):
        end = max(job.arrival_s, heapq.heappop(free)) + job.costs[plan].work_s
        heapq.heappush(free, end)
        latest = max(latest, end - job.arrival_s)
    return Optimum(label.plans, latest, max(free) - jobs[0].arrival_s, 1 - label.loss / tokens, exact)


def improved(jobs: list[PlannedJob], plans: tuple[int, ...], table: dict[int, float], quality: float,
             workers: int) -> tuple[tuple[int, ...], float]:  # fmt: skip
    """Plans that one gets from `plans` by changing one job's or two jobs' at a time while that lowers the p95 in the
    simulated engine and keeps the quality; and that p95, seconds."""
    budget = (1 - quality) * sum(job.tokens for job in jobs) + 1e-9

    def loss(choice):
        return sum(job.tokens * (1 - table[plan]) for job, plan in zip(jobs, choice))

    best = (engine_p95(jobs, plans, workers), loss(plans), plans)
    while True:
        near = {choice for choice in _neighbours(jobs, best[2]) if loss(choice) <= budget}
        found = min(((engine_p95(jobs, choice, workers), loss(choice), choice) for choice in near), default=best)
        if found[0] >= best[0] - 1e-9:
            return best[2], best[0]
        best = found


def engine_p95(jobs: list[PlannedJob], plans, workers: int) -> float:
    """The largest completion time in the simulated engine, seconds."""
    arrivals = [job.arrival_s for job in jobs]
    ends = engine_ends(arrivals, [job.costs[plan] for job, plan in zip(jobs, plans)], workers)
    return max(end - arrival for arrival, end in zip(arrivals, ends))


def _neighbours(jobs, plans):
    """Choices that differ in one or two jobs."""
    for changed in itertools.chain(*(itertools.combinations(range(len(jobs)), count) for count in (1, 2))):
        for others in itertools.product(*(jobs[number].costs for number in changed)):
            choice = list(plans)
            for number, plan in zip(changed, others):
                choice[number] = plan
            yield tuple(choice)
