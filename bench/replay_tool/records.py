"""What a run leaves behind, as plain values that go into the JSON file. Times are seconds from the run's start, on the
daemon's clock."""

from dataclasses import dataclass, field

from .simulator import Cost


@dataclass
class JobRecord:
    number: int  # in the trace, from 0
    id: int
    planned_s: float  # when the trace wanted it
    created_s: float
    started_s: float | None  # of the latest attempt: when a worker got it, where it may wait for memory
    ended_s: float | None
    state: str
    attempts: int
    prompt_tokens: int  # as the worker counted; of a job without a result, as the trace wanted
    output_tokens: int
    plan: int | None
    quality: float | None  # of the plan, by the chain's table
    exact: float | None  # mean over the job's questions
    f1: float | None
    prefill_s: float | None  # the job's share of the engine's time; None: not measured
    decode_s: float | None
    steps: int  # of its decoding: tokens of its longest answer
    deadline_s: float | None  # from the submit; None: none
    missed: bool | None  # its deadline; None: it has none
    why: str = ""
    begun_s: float | None = None  # when a worker's step first took in some of it, to some ms; None: not measured

    @property
    def cost(self) -> Cost | None:
        """Of the job on its plan; None unless it succeeded and was measured."""
        if self.state != "succeeded" or self.prefill_s is None or self.decode_s is None:
            return None
        return Cost(self.prefill_s, self.decode_s, self.prompt_tokens, self.steps)

    @property
    def latency_s(self) -> float | None:
        """Submit to end; None unless it succeeded."""
        return self.ended_s - self.created_s if self.state == "succeeded" and self.ended_s is not None else None


@dataclass
class PlanChange:
    at_s: float
    before: int
    after: int
    why: str = ""


@dataclass(frozen=True)
class Prediction:
    """Of a run, by the policy's simulator."""

    makespan_s: float
    p50_s: float
    p95_s: float
    missed: float | None  # share of the deadlines
    quality: float | None  # mean by the plan table


@dataclass
class RunRecord:
    configuration: str  # its label in the table
    seed: int
    jobs: list[JobRecord]
    changes: list[PlanChange] = field(default_factory=list)
    lost: int = 0  # jobs without a result
    doubled: int = 0  # jobs that are there twice, or have two results
    first_plan: int = 0  # at the run's start
    bursts: list[tuple[float, float]] = field(default_factory=list)
    offered_load: float = 0.0  # share of the capacity at plan 0
    detail: str = ""  # of a mix: the share of each plan
    predicted: Prediction | None = None  # not of a plan set by hand, which is no policy

    @property
    def done(self) -> list[JobRecord]:
        return [job for job in self.jobs if job.latency_s is not None]

    @property
    def late_s(self) -> float:
        """How much later than the trace wanted it a job came, at most, apart from what all were late."""
        late = [job.created_s - job.planned_s for job in self.jobs]
        return max(late) - min(late) if late else 0.0

    @property
    def makespan_s(self) -> float:
        """From the first submit to the last end."""
        ends = [job.ended_s for job in self.jobs if job.ended_s is not None]
        return max(ends) - min(job.created_s for job in self.jobs) if ends else 0.0
