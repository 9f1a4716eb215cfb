"""What has to be known of the machine and the model before a run: the capacity at plan 0, the plans and their quality, how
long a token is. And the jobs that a run's daemon is shown before the run, so that it knows what jobs cost."""

import random
import time
from dataclasses import dataclass, field

from .arrivals import Arrival
from .complaint import Complaint
from .configurations import Configuration
from .processes import Service
from .replay import quality_table

PROBE_CHARACTERS = 4000
PATIENCE_S = 900.0
PLAN_0 = Configuration("static 0", "static")


@dataclass
class Machine:
    context: int  # tokens of the model
    layers: int  # that its conversion chain has
    quality_table: dict[int, float] = field(default_factory=dict)
    capacity: float = 0.0  # prompt tokens a second at plan 0


def describe(service: Service) -> Machine:
    with service.peer() as peer:
        table = quality_table(peer)
        worker = peer.request("status")["workers"][0]
    return Machine(worker["context"], max(table), table)


def bytes_per_token(service: Service, text: str) -> float:
    """Of the model's tokenizer on the text's beginning."""
    piece = text[:PROBE_CHARACTERS]
    with service.peer() as peer:
        [job] = peer.submit({"task": "summarize", "document": piece, "options": {"max_tokens": 1}})
        _ended(peer, [job])
        return len(piece.encode()) / peer.result(job)["metrics"]["prompt_tokens"]


def capacity(service: Service, workload, jobs: int, say) -> float:
    """Prompt tokens a second at plan 0 when jobs like the trace's never stop coming."""
    with service.peer() as peer:
        PLAN_0.apply(peer, {})
        _run(peer, workload, 2, "warm")  # weights and caches are touched for the first time
        say(f"measuring the capacity at plan 0 with {jobs} jobs")
        infos, tokens = _run(peer, workload, jobs, "capacity")
    busy_s = (max(info["ended_ms"] for info in infos) - min(info["created_ms"] for info in infos)) / 1000
    return tokens / max(busy_s, 1e-3)


def teach(service: Service, workload, configurations: list[Configuration], jobs: int, defaults: dict, say):
    """Runs some jobs under each of the configurations, so that the daemon learns what they cost."""
    with service.peer() as peer:
        for configuration in configurations:
            say(f"showing the daemon {jobs} jobs under {configuration.label}")
            configuration.apply(peer, defaults)
            _run(peer, workload, jobs, configuration.label)
        PLAN_0.apply(peer, defaults)
        _run(peer, workload, 1, "end")  # so that every run begins at plan 0


def _run(peer, workload, count, seed):
    """Infos of the jobs, and their prompt tokens together."""
    rng = random.Random(f"calibration {seed}")
    arrivals = [Arrival(0.0, *workload.draw(rng)) for _ in range(count)]
    works = [workload.documents.make(f"calibration-{seed}-{number}", arrival) for number, arrival in enumerate(arrivals)]
    ids = [job for work in works for job in peer.submit(work.body)]
    infos = _ended(peer, ids)
    return infos, sum(peer.result(job)["metrics"]["prompt_tokens"] for job in ids)


def _ended(peer, ids):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        reply = peer.request("wait", {"ids": ids, "timeout_ms": 1000})
        if reply["done"]:
            break
        if time.monotonic() > deadline:
            raise Complaint(f"jobs that measure the capacity did not end within {PATIENCE_S:.0f} s; give --capacity, or fewer "
                            "--calibration-jobs")  # fmt: skip
    for info in reply["jobs"]:
        if info["state"] != "succeeded":
            raise Complaint(f"a job that measures the capacity ended as {info['state']}: {info.get('error')}")
    return reply["jobs"]
