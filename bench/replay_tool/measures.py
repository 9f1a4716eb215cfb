"""The columns of the table, each a pure function of a run."""

import bisect
import collections
from dataclasses import dataclass
from typing import Callable

from .intervals import percentile
from .records import JobRecord, RunRecord

MOST_LATE_S = 1.0  # of jobs whose times are still the trace's


def latency_at(share: float) -> Callable[[RunRecord], float | None]:
    """The percentile of submit to end, seconds, of the jobs that have a result."""

    def measure(run):
        return percentile([job.latency_s for job in run.done], share) if run.done else None

    return measure


def weighted(jobs: list[JobRecord], value: Callable[[JobRecord], float | None]) -> float | None:
    """Mean weighted by prompt tokens, over the jobs that have the value."""
    known = [(job.prompt_tokens, value(job)) for job in jobs if value(job) is not None]
    tokens = sum(weight for weight, _ in known)
    return sum(weight * number for weight, number in known) / tokens if tokens else None


def table_quality(run: RunRecord, table: dict[int, float]) -> float | None:
    """Mean quality of the jobs' plans by the chain's table, weighted by tokens."""
    return weighted(run.done, lambda job: table.get(job.plan))


def outside_bursts(run: RunRecord) -> list[JobRecord]:
    """Those with a result that came outside every burst; none where the trace has no bursts."""

    def came_in_one(job):
        return any(start <= job.created_s < end for start, end in run.bursts)

    return [job for job in run.done if not came_in_one(job)] if run.bursts else []


def missed_deadlines(run: RunRecord) -> float | None:
    """Share of the jobs with a deadline that ended later, or never."""
    verdicts = [job.missed for job in run.jobs if job.missed is not None]
    return sum(verdicts) / len(verdicts) if verdicts else None


def changes_per_hour(run: RunRecord) -> float:
    return len(run.changes) * 3600 / run.makespan_s if run.makespan_s else 0.0


def reaction_to_change_s(run: RunRecord) -> float | None:
    """From the start of a burst to the first change to a larger plan within it, mean over the bursts that had one."""
    times = []
    for start, end in run.bursts:
        ups = [change.at_s for change in run.changes if start <= change.at_s < end and change.after > change.before]
        if ups:
            times.append(ups[0] - start)
    return sum(times) / len(times) if times else None


def reaction_to_target_s(run: RunRecord) -> float | None:
    """From the start of a burst to the first job on the plan on which most jobs run that start in the burst's second half;
    mean over the bursts in which that plan is not the one before."""
    times = []
    for start, end in run.bursts:
        inside = sorted(
            (job for job in run.done if job.started_s is not None and start <= job.started_s < end),
            key=lambda job: job.started_s,
        )
        late = collections.Counter(job.plan for job in inside if job.started_s >= (start + end) / 2)
        if not late:
            continue
        target = late.most_common(1)[0][0]
        if target > _plan_before(run, start):
            times.append(next(job.started_s for job in inside if job.plan >= target) - start)
    return sum(times) / len(times) if times else None


def held_up(runs: list[RunRecord]) -> list[str]:
    """Runs whose load was not the trace's, as the machine that submits was held up; a line each."""
    return [
        f"{run.configuration}, seed {run.seed}: jobs came up to {run.late_s:.1f} s later than the trace wants them. Something held "
        "the machine up; the run's load was another one, and it compares with no other."
        for run in runs
        if run.late_s > MOST_LATE_S
    ]


def waiting_tokens(run: RunRecord) -> list[tuple[float, int]]:
    """Steps (seconds, prompt tokens that wait from then on)."""
    events = []
    for job in run.jobs:
        events.append((job.created_s, job.prompt_tokens))
        if job.started_s is not None:
            events.append((job.started_s, -job.prompt_tokens))
    steps, level = [(0.0, 0)], 0
    for at, tokens in sorted(events):
        level += tokens
        steps.append((at, level))
    return steps


def jobs_at_work(run: RunRecord) -> list[tuple[float, int]]:
    """Steps (seconds, jobs that engines work on from then on): their begin to their end. A job that waits with its worker for
    memory is none of them."""
    events = []
    for job in run.done:
        if job.begun_s is not None:
            events += [(job.begun_s, 1), (job.ended_s, -1)]
    steps, level = [(0.0, 0)], 0
    for at, change in sorted(events):  # where one ends as another begins, they were not at work together
        level += change
        steps.append((at, level))
    return steps


def most_at_once(run: RunRecord) -> float | None:
    steps = jobs_at_work(run)
    return float(max(jobs for _, jobs in steps)) if len(steps) > 1 else None


def plan_in_force(run: RunRecord) -> list[tuple[float, int]]:
    """Steps (seconds, plan of the policy from then on)."""
    return [(0.0, run.first_plan)] + [(change.at_s, change.after) for change in run.changes]


def _plan_before(run, at):
    steps = plan_in_force(run)
    return steps[max(0, bisect.bisect_right([time for time, _ in steps], at) - 1)][1]


@dataclass(frozen=True)
class Column:
    key: str
    title: str
    measure: Callable[[RunRecord], float | None]
    digits: int = 2
    percent: bool = False


def columns(table: dict[int, float]) -> list[Column]:
    """What is shown of each configuration; docs/adaptive.md explains them."""
    return [
        Column("makespan_s", "makespan s", lambda run: run.makespan_s, 1),
        Column("p50_s", "p50 s", latency_at(0.50)),
        Column("p95_s", "p95 s", latency_at(0.95)),
        Column("p99_s", "p99 s", latency_at(0.99)),
        Column("at_once", "at once", most_at_once, 1),
        Column("missed", "missed", missed_deadlines, 1, percent=True),
        Column("exact", "exact", lambda run: weighted(run.done, lambda job: job.exact), 3),
        Column("f1", "F1", lambda run: weighted(run.done, lambda job: job.f1), 3),
        Column("f1_calm", "F1 calm", lambda run: weighted(outside_bursts(run), lambda job: job.f1), 3),
        Column("table_quality", "by table", lambda run: table_quality(run, table), 4),
        Column("changes_per_hour", "changes/h", changes_per_hour, 0),
        Column("first_change_s", "change s", reaction_to_change_s),
        Column("target_plan_s", "target s", reaction_to_target_s),
        Column("lost_or_doubled", "lost+dbl", lambda run: float(run.lost + run.doubled), 0),
    ]
