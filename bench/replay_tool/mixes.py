"""Time-shared mixes of two static plans that have an adaptive run's mean quality: what anybody gets without a policy, by
giving a random part of the jobs the cheaper plan. A policy is worth having where it beats all of them."""

from dataclasses import replace

from .configurations import Configuration, mix_of
from .intervals import percentile
from .records import JobRecord, RunRecord
from .simulator import engine_ends

NEVER_BETTER = 1e-9
SMALLEST_SHARE = 1e-4  # of a mix; less is a static plan


def mixes_of_quality(policy: str, quality: float, plans: list[int], table: dict[int, float]) -> list[Configuration]:
    """Every pair of plans whose qualities lie on both sides of `quality`, with the share of the second plan that gives
    it."""
    mixes = []
    for number, first in enumerate(plans):
        for second in plans[number + 1 :]:
            share = share_of_second(quality, table[first], table[second])
            if share is not None and SMALLEST_SHARE < share < 1 - SMALLEST_SHARE:
                mixes.append(mix_of(policy, first, second, share))
    return mixes


def share_of_second(quality: float, first: float, second: float) -> float | None:
    """s with (1 - s) first + s second = quality; None where there is none, or every s would do."""
    if abs(first - second) < NEVER_BETTER:
        return None
    share = (first - quality) / (first - second)
    if not -NEVER_BETTER <= share <= 1 + NEVER_BETTER:
        return None
    return min(max(share, 0.0), 1.0)


def computed_mix(mix: Configuration, static_runs: dict[int, RunRecord], seed: int, workers: int) -> RunRecord | None:
    """The mix's run as it follows from the static plans' runs of the same seed: each job has the engine time and the
    answers that it had there, and the simulated engine tells when it ends. None where a job has no result."""
    if not set(mix.mix) <= set(static_runs):
        return None
    some = static_runs[mix.mix[0]]
    plans = mix.max_plans([job.prompt_tokens for job in some.jobs], seed)
    sources = [static_runs[plan].jobs[number] for number, plan in enumerate(plans)]
    costs = [job.cost for job in sources]
    if None in costs:
        return None
    ends = engine_ends([job.created_s for job in some.jobs], costs, workers)
    jobs = [_moved(source, base.created_s, end) for source, base, end in zip(sources, some.jobs, ends)]
    detail = f"computed, {mix.share:.0%} of the tokens on plan {mix.mix[1]}"
    return RunRecord(mix.label, seed, jobs, first_plan=mix.plan, bursts=some.bursts, offered_load=some.offered_load,
                     detail=detail)  # fmt: skip


def model_error(run: RunRecord, workers: int, p95) -> float | None:
    """The simulated p95 of a run's own jobs as a ratio to the measured one; None where not all of them were measured."""
    costs = [job.cost for job in run.jobs]
    if None in costs:
        return None
    arrivals = [job.created_s for job in run.jobs]
    ends = engine_ends(arrivals, costs, workers)
    return percentile([end - arrival for arrival, end in zip(arrivals, ends)], 0.95) / p95(run)


def _moved(source: JobRecord, created_s: float, ended_s: float) -> JobRecord:
    missed = None if source.deadline_s is None else ended_s - created_s > source.deadline_s
    return replace(source, created_s=created_s, started_s=created_s, ended_s=ended_s, missed=missed, begun_s=None)
