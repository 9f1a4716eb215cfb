"""What `dslactl policy simulate` says of a run, from the times at which its jobs came and from what the daemon has learnt of
the workers by the run's end: the policy's own code, at simulated times."""

import csv
import json
import pathlib
import statistics
import subprocess

from . import measures
from .processes import Service
from .records import Prediction, RunRecord

_COMPARED = (  # name, of the prediction, of the run
    ("makespan", lambda said: said.makespan_s, lambda run: run.makespan_s),
    ("p50", lambda said: said.p50_s, measures.latency_at(0.50)),
    ("p95", lambda said: said.p95_s, measures.latency_at(0.95)),
)


def predict(service: Service, jobs: list, record: RunRecord, deadline_s: float, plans: list, say) -> Prediction | None:
    """`jobs` as they were sent (replay.TimedWork), `plans` the largest that each allows. None where dslactl refuses, which
    is said: a run that was made is worth more than what is said beside it."""
    trace = service.folder / "trace.csv"
    _write_trace(trace, jobs, record, deadline_s, plans)
    command = [service.options.bin / "dslactl", "--connect", service.jobs_url, "--json", "policy", "simulate", trace]
    done = subprocess.run([str(part) for part in command], capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        say(f"no prediction: dslactl policy simulate: {done.stderr.strip()}")
        return None
    return prediction_of(json.loads(done.stdout))


def prediction_of(report: dict) -> Prediction:
    """Of what dslactl prints: the daemon's own policy stands first, before plan 0 for all."""
    own = report["policies"][0]
    missed = own["missed"] / own["with_deadline"] if own["with_deadline"] else None
    # It has no quality where jobs ran on plans that were not measured.
    return Prediction(own["makespan_ms"] / 1000, own["p50_ms"] / 1000, own["p95_ms"] / 1000, missed, own.get("quality"))


def comparison(runs: list[RunRecord]) -> list[str]:
    """A sentence for each configuration: predicted over measured, means of the seeds."""
    lines = []
    for label in dict.fromkeys(run.configuration for run in runs):
        pairs = [(run.predicted, run) for run in runs if run.configuration == label and run.predicted and run.done]
        if not pairs:
            continue
        ratios = []
        for name, of_prediction, of_run in _COMPARED:
            each = [of_prediction(said) / of_run(run) for said, run in pairs]
            spread = f" ({min(each):.2f} to {max(each):.2f})" if len(each) > 1 else ""
            ratios.append(f"{name} x{statistics.fmean(each):.2f}{spread}")
        lines.append(f"simulated with the costs of its run, {label}: {', '.join(ratios)} of the measured")
    return lines


def _write_trace(path: pathlib.Path, jobs: list, record: RunRecord, deadline_s: float, plans: list):
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("arrived_s", "bytes", "max_tokens", "questions", "deadline_s", "max_plan"))
        for job, was, plan in zip(jobs, record.jobs, plans):
            body = job.work.body
            questions = body.get("questions", [])
            size = sum(len(text.encode()) for text in (body.get("document", ""), body.get("prompt", ""), *questions))
            rows.writerow((was.created_s, size, body["options"]["max_tokens"], len(questions) or "", deadline_s or "",
                           "" if plan is None else plan))  # fmt: skip
