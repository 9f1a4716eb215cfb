"""A worker's engine in a few lines, for runs that nobody makes: computed mixes and the clairvoyant's choices. As in
worker/engine/engine.h each step takes in up to PREFILL_ROWS prompt tokens, older jobs first, and one token of every answer
that is being written; so a job's answer takes as many steps as it has tokens, each as long as what else the step does.

`serial_spans` is simpler: jobs one after the other. No order of the same work has a smaller largest completion time on
one worker, so it bounds what any scheduling can reach."""

import heapq
from dataclasses import dataclass

PREFILL_ROWS = 512


@dataclass(frozen=True)
class Cost:
    """Engine time of a job under some plan: its shares of the steps that it took part in."""

    prefill_s: float
    decode_s: float
    prompt_tokens: int
    steps: int  # of its decoding: tokens of its longest answer

    @property
    def work_s(self) -> float:
        return self.prefill_s + self.decode_s


class _Running:
    def __init__(self, number: int, cost: Cost):
        self.number = number
        self.tokens = max(1, cost.prompt_tokens)
        self.token_s = cost.prefill_s / self.tokens
        self.steps = max(1, cost.steps)
        self.step_s = cost.decode_s / self.steps

    def advance(self, room: int) -> tuple[float, int]:
        """Takes part in a step; seconds, and prompt tokens of the `room` for them."""
        if self.tokens > 0:
            taken = min(PREFILL_ROWS, self.tokens) if room > 0 else 0
            self.tokens -= taken
            return taken * self.token_s, taken
        self.steps -= 1
        return self.step_s, 0


def engine_ends(arrivals_s: list[float], costs: list[Cost], workers: int) -> list[float]:
    """When each job ends, seconds. A job goes to the worker with the least work left. REQUIRES: arrivals ascend."""
    ends = [0.0] * len(costs)
    for numbers in _shared_out(arrivals_s, costs, workers):
        _run_engine(numbers, arrivals_s, costs, ends)
    return ends


def serial_spans(arrivals_s: list[float], works_s: list[float], workers: int) -> list[tuple[float, float]]:
    """Start and end of each job where workers take one after the other, in the order of arrival."""
    free = [0.0] * workers
    spans = []
    for arrival, work in zip(arrivals_s, works_s):
        start = max(arrival, heapq.heappop(free))
        heapq.heappush(free, start + work)
        spans.append((start, start + work))
    return spans


def _shared_out(arrivals_s, costs, workers):
    free, shares = [(0.0, worker) for worker in range(workers)], [[] for _ in range(workers)]
    for number, arrival in enumerate(arrivals_s):
        at, worker = heapq.heappop(free)
        shares[worker].append(number)
        heapq.heappush(free, (max(at, arrival) + costs[number].work_s, worker))
    return shares


def _run_engine(numbers, arrivals_s, costs, ends):
    running, coming, now = [], list(reversed(numbers)), 0.0
    while running or coming:
        if not running:
            now = max(now, arrivals_s[coming[-1]])
        while coming and arrivals_s[coming[-1]] <= now:
            number = coming.pop()
            running.append(_Running(number, costs[number]))
        room = PREFILL_ROWS
        for job in running:
            seconds, taken = job.advance(room)
            now += seconds
            room -= taken
        for job in running:
            if job.tokens == 0 and job.steps == 0:
                ends[job.number] = now
        running = [job for job in running if job.tokens > 0 or job.steps > 0]
