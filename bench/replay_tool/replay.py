"""One run: sends jobs to a started service when the trace says so, waits for all, and collects what became of them."""

import contextlib
import sqlite3
import time
from dataclasses import dataclass

from .complaint import Complaint
from .configurations import Configuration
from .documents import Work
from .places import wire
from .predicted import predict
from .processes import Service
from .records import JobRecord, PlanChange, RunRecord
from .scores import exact_match, f1, mean_score

NAME = "replay-"  # begins the custom_id of a run's jobs
WAITED_AT_ONCE = 1024
HISTORY_LIMIT = 1024


@dataclass(frozen=True)
class TimedWork:
    """A job of the trace with its content."""

    at_s: float
    prompt_tokens: int  # as the trace wants them
    work: Work


@dataclass(frozen=True)
class RunSettings:
    deadline_s: float  # of every job; 0: none
    patience_s: float  # after the last submit; what has not ended then counts as lost
    policy_defaults: dict  # for policy_set


def replay(service: Service, jobs: list[TimedWork], configuration: Configuration, seed: int, settings: RunSettings,
           say) -> RunRecord:  # fmt: skip
    """Runs the jobs. `say(text)` shows how far it is. The database is still to be checked (`count_doubled`)."""
    with service.peer() as peer:
        configuration.apply(peer, settings.policy_defaults)
        first_plan = _plan_in_force(peer, configuration)
        plans = configuration.max_plans([job.prompt_tokens for job in jobs], seed)
        start_ms = time.time() * 1000
        ids = _submit_all(service, peer, jobs, plans, settings.deadline_s, say)
        _await_end(service, peer, ids, settings.patience_s, say)
        record = RunRecord(configuration.label, seed, [], first_plan=first_plan)
        record.jobs = [_record(peer, number, ids[number], job, start_ms) for number, job in enumerate(jobs)]
        record.changes = _changes(peer, configuration, start_ms)
        if configuration.policy != "manual":
            record.predicted = predict(service, jobs, record, settings.deadline_s, plans, say)
    record.lost = sum(job.state != "succeeded" for job in record.jobs)
    if configuration.mix is not None:
        record.detail = f"{configuration.share:.0%} of the tokens on plan {configuration.mix[1]}"
    return record


def count_doubled(database) -> int:
    """Jobs of the run that are there more than once, or that more than one attempt has answered."""
    twice = "SELECT custom_id FROM job_status WHERE custom_id LIKE ? GROUP BY custom_id HAVING count(*) > 1"
    answered = "SELECT id FROM job_attempts WHERE outcome = 'succeeded' GROUP BY id HAVING count(*) > 1"
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as db:
        return len(db.execute(twice, (NAME + "%",)).fetchall()) + len(db.execute(answered).fetchall())


def _plan_in_force(peer, configuration):
    if not configuration.adaptive:
        return configuration.plan
    return peer.request("policy_show")["plan"]


def _submit_all(service, peer, jobs, plans, deadline_s, say):
    ids = []
    start = time.monotonic()
    for number, job in enumerate(jobs):
        while (left := start + job.at_s - time.monotonic()) > 0:
            say(f"{number} of {len(jobs)} jobs sent, {time.monotonic() - start:.0f} s")
            service.check_alive()
            time.sleep(min(left, 0.5))
        body = {**job.work.body, "custom_id": f"{NAME}{number}", "best_effort": True}
        if deadline_s:
            body["deadline_in_ms"] = round(deadline_s * 1000)
        if plans[number] is not None:
            body["max_plan"] = plans[number]
        ids += peer.submit(body)
    return ids


def _await_end(service, peer, ids, patience_s, say):
    open_ids = list(ids)
    deadline = time.monotonic() + patience_s
    while open_ids and time.monotonic() < deadline:
        service.check_alive()
        infos = peer.request("wait", {"ids": open_ids[:WAITED_AT_ONCE], "timeout_ms": 500})["jobs"]
        ended = {info["id"] for info in infos if info["state"] in wire.FINAL}
        open_ids = [job for job in open_ids if job not in ended]
        say(f"all {len(ids)} jobs sent, {len(ids) - len(open_ids)} ended")


def _record(peer, number, job_id, job, start_ms):
    result = peer.result(job_id)
    info, metrics = result["job"], result["metrics"]
    done = info["state"] == "succeeded"
    answers = [output["text"] for output in result["outputs"]]
    references = job.work.answers
    scored = bool(references) and done
    ended_ms = info["ended_ms"]
    measured = metrics.get("prefill_work_ms", 0) > 0
    deadline_ms = info.get("deadline_ms", 0)
    return JobRecord(
        number=number,
        id=job_id,
        planned_s=job.at_s,
        created_s=(info["created_ms"] - start_ms) / 1000,
        started_s=(info["started_ms"] - start_ms) / 1000 if info["started_ms"] else None,
        ended_s=(ended_ms - start_ms) / 1000 if ended_ms else None,
        state=info["state"],
        attempts=info["attempt"],
        prompt_tokens=metrics["prompt_tokens"] if done else job.prompt_tokens,
        output_tokens=metrics["output_tokens"] if done else 0,
        plan=metrics["plan"] if done else None,
        quality=metrics.get("quality") if done else None,
        exact=mean_score(exact_match, answers, references) if scored else None,
        f1=mean_score(f1, answers, references) if scored else None,
        prefill_s=metrics["prefill_work_ms"] / 1000 if measured else None,
        decode_s=metrics["decode_work_ms"] / 1000 if measured else None,
        steps=max((output["output_tokens"] for output in result["outputs"]), default=0),
        deadline_s=(deadline_ms - info["created_ms"]) / 1000 if deadline_ms else None,
        missed=(not done or ended_ms > deadline_ms) if deadline_ms else None,
        why=metrics.get("why", ""),
        begun_s=_begun_s(ended_ms - start_ms, metrics) if done else None,
    )


def _begun_s(ended_ms, metrics):
    """A job that a worker holds and has not begun has no steps, so those that it had go back from its end to its begin."""
    stepped_ms = metrics.get("prefill_ms", 0) + metrics.get("decode_ms", 0)
    return (ended_ms - stepped_ms) / 1000 if stepped_ms > 0 else None


def _changes(peer, configuration, start_ms):
    if not configuration.adaptive:
        return []  # what the history may have is the start of the policy itself
    history = peer.request("policy_history", {"limit": HISTORY_LIMIT})["changes"]
    changes = [
        PlanChange((change["time_ms"] - start_ms) / 1000, change["from"], change["to"], change["why"])
        for change in reversed(history)
        if change["time_ms"] >= start_ms
    ]
    return [change for change in changes if change.before != change.after]


def quality_table(peer) -> dict[int, float]:
    """Quality by plan, of every plan from 0 to that with all distilled layers, from the chain's measurements; plans between
    two measured ones lie on the line between them."""
    models = peer.request("layers")["models"]
    if not models:
        raise Complaint("the daemon knows no model; did the worker start?")
    ordered = sorted((layer for layer in models[0]["layers"] if layer["order"] >= 0), key=lambda layer: layer["order"])
    known = {0: 1.0}
    for layer in ordered:
        if not layer["distilled"]:
            break
        known[layer["order"] + 1] = layer.get("quality")
    return interpolated(known)


def interpolated(known: dict[int, float | None]) -> dict[int, float]:
    """Fills None by the line between its neighbours, and behind the last one by that. REQUIRES: known[0] is a number."""
    measured = [plan for plan, quality in sorted(known.items()) if quality is not None]
    table = {}
    for plan in sorted(known):
        below = max(p for p in measured if p <= plan)
        above = min((p for p in measured if p >= plan), default=below)
        part = (plan - below) / (above - below) if above > below else 0.0
        table[plan] = known[below] + part * (known[above] - known[below])
    return table
