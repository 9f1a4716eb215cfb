"""Time-shared mixes of two static plans that have an adaptive run's mean quality: what anybody gets without a policy, by
giving a random part of the jobs the cheaper plan. A policy is worth having where it beats all of them."""

from .configurations import Configuration, mix_of
from .records import JobRecord, RunRecord
from .simulator import SimulatedJob, simulate

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
    answers that it had there, and the workers take the jobs in the order of arrival. None where a job has no result."""
    if not set(mix.mix) <= set(static_runs):
        return None
    some = static_runs[mix.mix[0]]
    plans = mix.max_plans([job.prompt_tokens for job in some.jobs], seed)
    sources = [static_runs[plan].jobs[number] for number, plan in enumerate(plans)]
    if any(job.latency_s is None or job.work_s is None for job in sources):
        return None
    spans = simulate([SimulatedJob(job.created_s, job.work_s) for job in some.jobs], workers, [j.work_s for j in sources])
    jobs = [_moved(source, base.created_s, span) for source, base, span in zip(sources, some.jobs, spans)]
    detail = f"computed, {mix.share:.0%} of the tokens on plan {mix.mix[1]}"
    return RunRecord(mix.label, seed, jobs, first_plan=mix.plan, bursts=some.bursts, offered_load=some.offered_load,
                     detail=detail)  # fmt: skip


def _moved(source: JobRecord, created_s: float, span: tuple[float, float]) -> JobRecord:
    values = dict(vars(source))
    if source.deadline_s is not None:
        values["missed"] = span[1] - created_s > source.deadline_s
    return JobRecord(**{**values, "created_s": created_s, "started_s": span[0], "ended_s": span[1]})
