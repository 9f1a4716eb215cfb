"""What is asked and answered. Names and defaults are the protocol's (docs/protocol.md, which says what each means);
times are milliseconds, those that end in `_in_ms` from the submit, the others since the Unix epoch where they name a
moment. All are immutable."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack

from . import errors

Task = Literal["summarize", "qa", "generate"]
State = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
Phase = Literal["waiting", "prefill", "decode"]
FinishReason = Literal["stop", "length"]
Overflow = Literal["error", "truncate", "map-reduce"]
LayerState = Literal["transformer", "planned", "distilling", "distilled", "active", "reverted", "failed"]
PolicyKind = Literal["manual", "static", "threshold", "deadline"]
QueueMode = Literal["open", "paused", "draining"]


class JobOptions(TypedDict, total=False):
    """What a job may have besides its texts: the keywords of `Job.summarize`, `client.summarize` and so on."""

    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    priority: int
    max_attempts: int
    idempotency_key: str
    custom_id: str
    labels: Sequence[str]
    expires_in_ms: int
    start_in_ms: int
    model: str
    deadline_in_ms: int
    min_quality: float | None
    max_plan: int | None
    best_effort: bool
    upgrade: bool
    overflow: Overflow | None


@dataclass(frozen=True, slots=True)
class Job:
    """A job to submit; `Job.summarize`, `Job.ask` and `Job.generate` make them."""

    task: Task
    document: str = ""  # summarize, qa
    questions: Sequence[str] = ()  # qa: one answer each
    prompt: str = ""  # generate
    max_tokens: int = 256  # of each answer
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    seed: int = 0
    priority: int = 0  # higher runs first
    max_attempts: int = 0  # 0: the daemon's
    idempotency_key: str = ""  # submitted again, it is the same job
    custom_id: str = ""
    labels: Sequence[str] = ()  # words to find it by
    expires_in_ms: int = 0  # 0: never
    start_in_ms: int = 0  # 0: at once
    model: str = ""  # name or digest of who must answer; "": any
    deadline_in_ms: int = 0  # 0: none
    min_quality: float | None = None  # of the plan, relative to plan 0; None: the policy's
    max_plan: int | None = None  # 0: exact; None: any
    best_effort: bool = False  # take it even where the deadline cannot be met
    upgrade: bool = False  # answered on another plan, it is run again on plan 0 when there is time
    overflow: Overflow | None = None  # of a document beyond the model's context; None: as the daemon is configured

    def __post_init__(self) -> None:
        for name in ("questions", "labels"):  # one alone may be given as it is
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))

    @classmethod
    def summarize(cls, document: str, **options: Unpack[JobOptions]) -> Job:
        return cls("summarize", document=document, **options)

    @classmethod
    def ask(cls, document: str, questions: str | Sequence[str], **options: Unpack[JobOptions]) -> Job:
        """All questions in one job: the document is processed once."""
        return cls("qa", document=document, questions=questions, **options)

    @classmethod
    def generate(cls, prompt: str, **options: Unpack[JobOptions]) -> Job:
        return cls("generate", prompt=prompt, **options)

    def body(self) -> dict[str, Any]:
        """As it lies in a submit: what differs from the defaults."""
        body: dict[str, Any] = {"task": self.task}
        for key in dataclasses.fields(self)[1:]:
            value = getattr(self, key.name)
            if value != key.default:
                place = body.setdefault("options", {}) if key.name in _SAMPLING else body
                place[key.name] = value
        return body


_SAMPLING = ("max_tokens", "temperature", "top_p", "seed")


@dataclass(frozen=True, slots=True)
class Submitted:
    """The jobs of a submit, each tuple in the order asked."""

    ids: tuple[int, ...] = ()
    duplicates: tuple[bool, ...] = ()  # known by its idempotency key before
    finish_ms: tuple[int, ...] = ()  # when each is expected to end; 0: nothing is known, or a duplicate

    @property
    def id(self) -> int:
        """Of the one job that was submitted."""
        if len(self.ids) != 1:
            raise ValueError(f"{len(self.ids)} jobs were submitted, not one: see ids")
        return self.ids[0]

    @staticmethod
    def join(parts: Iterable[Submitted]) -> Submitted:
        kept = tuple(parts)
        return Submitted(
            tuple(id for part in kept for id in part.ids),
            tuple(known for part in kept for known in part.duplicates),
            tuple(moment for part in kept for moment in part.finish_ms),
        )


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """What went wrong with a job or a worker; the codes are those of the exceptions."""

    code: int = 7
    message: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    phase: Phase = "waiting"
    prompt_done: int = 0
    prompt_total: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class JobInfo:
    id: int = 0
    custom_id: str = ""
    task: Task = "summarize"
    state: State = "queued"
    priority: int = 0
    attempt: int = 0
    max_attempts: int = 0
    created_ms: int = 0
    started_ms: int = 0
    ended_ms: int = 0
    worker: str = ""
    error: ErrorInfo | None = None
    progress: Progress = Progress()
    client: str = ""
    model: str = ""
    deadline_ms: int = 0
    min_quality: float | None = None
    max_plan: int | None = None
    upgrade: bool = False
    labels: tuple[str, ...] = ()
    starts_ms: int = 0
    alone: bool = False
    place: int = 0
    finish_ms: int = 0
    owner: str = ""
    at_worker: bool = False  # it is queued, and `worker` has it already and begins it next

    @property
    def ended(self) -> bool:
        return self.state not in ("queued", "running")

    @property
    def succeeded(self) -> bool:
        return self.state == "succeeded"


@dataclass(frozen=True, slots=True)
class Output:
    text: str = ""
    question: str | None = None
    finish_reason: FinishReason = "stop"
    output_tokens: int = 0
    part: int = 0  # of a document read in parts, the one that gave this answer, from 1


@dataclass(frozen=True, slots=True)
class Metrics:
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    plan: int = 0
    edition: str = ""
    quality: float | None = None
    model: str = ""
    model_digest: str = ""
    worker: str = ""
    attempt: int = 0
    prefill_work_ms: float = 0.0
    decode_work_ms: float = 0.0
    batch: float = 0.0
    why: str = ""
    parts: int = 0  # that the document was read in; 0: in one
    cut_tokens: int = 0  # of the document, that were left out
    reused_tokens: int = 0  # of the prompt, that the worker had read before


@dataclass(frozen=True, slots=True)
class Rerun:
    """The job answered again on plan 0."""

    outputs: tuple[Output, ...] = ()
    metrics: Metrics = Metrics()
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    job: JobInfo = JobInfo()
    outputs: tuple[Output, ...] = ()  # none unless the job succeeded
    metrics: Metrics = Metrics()
    rerun: Rerun | None = None

    @property
    def succeeded(self) -> bool:
        return self.job.succeeded

    @property
    def answers(self) -> tuple[Output, ...]:
        """Those of plan 0 where the job asked for them with `upgrade` and they are there, else the first ones.
        JobFailed where there are none."""
        if not self.succeeded:
            raise errors.JobFailed(self.job)
        return self.rerun.outputs if self.job.upgrade and self.rerun else self.outputs

    @property
    def text(self) -> str:
        """The answers' text; those to several questions one a line."""
        return "\n".join(output.text for output in self.answers)


@dataclass(frozen=True, slots=True)
class Cancelled:
    jobs: tuple[JobInfo, ...] = ()
    cancelled: tuple[int, ...] = ()  # those that this request cancelled
    not_found: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Requeued:
    jobs: tuple[JobInfo, ...] = ()
    requeued: tuple[int, ...] = ()  # those that wait again by this request
    not_found: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineStats:
    steps: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    prefill_tokens_per_s: float = 0.0
    decode_tokens_per_s: float = 0.0
    sequences_running: int = 0
    sequences_waiting: int = 0
    kv_bytes_used: int = 0
    kv_bytes_total: int = 0
    state_bytes_used: int = 0
    state_bytes_total: int = 0
    reused_tokens: int = 0


@dataclass(frozen=True, slots=True)
class PlanOffer:
    plan: int = 0
    quality: float | None = None
    kv_bytes_per_token: int = 0
    state_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    name: str = ""
    instance: str = ""
    device: str = ""
    model: str = ""
    dtype: str = ""
    plan: int = 0
    capacity: int = 0
    running: int = 0
    last_seen_ms: int = 0
    engine: EngineStats = EngineStats()
    model_digest: str = ""
    edition: str = ""
    layers: int = 0
    context: int = 0
    cache_bytes: int = 0
    begun: int = 0
    plans: tuple[PlanOffer, ...] = ()
    chain_fault: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    version: str = ""
    events_url: str = ""
    uptime_ms: int = 0
    draining: bool = False  # the daemon is stopping
    mode: QueueMode = "open"
    jobs: dict[str, int] = field(default_factory=dict)  # number by state
    plan: int = 0
    workers: tuple[WorkerInfo, ...] = ()
    policy: PolicyKind = "manual"
    drain_ms: int = 0
    waiting_tokens: int = 0
    you: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class PlanSpeed:
    attention: float = 1.0
    states: float = 0.0
    prefill: float = 1.0
    decode: float = 1.0


@dataclass(frozen=True, slots=True)
class CostModel:
    workers: str = ""
    jobs: int = 0
    error_p50: float = 0.0
    error_p90: float = 0.0
    bytes_per_token: float = 0.0
    output_share: float = 0.0
    batch: float = 0.0
    coefficients: tuple[float, ...] = ()
    plan_speeds: tuple[PlanSpeed, ...] = ()


@dataclass(frozen=True, slots=True)
class Stats:
    uptime_ms: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    workers: tuple[WorkerInfo, ...] = ()
    cost_models: tuple[CostModel, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerInfo:
    layer: int = 0
    order: int = -1
    state: LayerState = "transformer"
    distilled: bool = False
    entropy: float | None = None
    kl: float | None = None
    quality: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LayerChange:
    layer: int = 0
    from_state: LayerState = field(default="transformer", metadata={"key": "from"})
    to_state: LayerState = field(default="transformer", metadata={"key": "to"})
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ModelLayers:
    model: str = ""
    model_digest: str = ""
    plan: int = 0
    layers: tuple[LayerInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    worker: str = ""
    model: str = ""
    plan: int = 0
    layers: int = 0
    changes: tuple[LayerChange, ...] = ()
    error: ErrorInfo | None = None  # why it kept the plan that it had


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a plan's answers agree with those of plan 0."""

    model: str = ""
    model_digest: str = ""
    edition: str = ""
    plan: int = 0
    jobs: int = 0
    agreement: float = 0.0
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class PolicyLevel:
    """The plan in force of a model that is served."""

    model: str = ""
    model_digest: str = ""
    plan: int = 0
    since_ms: int = 0
    why: str = ""
    change_cost_ms: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    policy: PolicyKind = "manual"
    static_plan: int = 0
    min_quality: float = 0.0
    target_drain_ms: int = 0
    dwell_ms: int = 0
    without: str = ""  # the part of the policy deadline that is left out
    threshold_check_ms: int = 0
    threshold_cooldown_ms: int = 0
    idle_after_ms: int = 0
    idle_window: str = ""
    canary_share: float = 0.0
    min_agreement: float = 0.0
    plan: int = 0
    since_ms: int = 0
    why: str = ""
    waiting_jobs: int = 0
    waiting_tokens: int = 0
    drain_ms: int = 0
    change_cost_ms: int = 0
    levels: tuple[PolicyLevel, ...] = ()  # a model's each
    cost_models: tuple[CostModel, ...] = ()
    idle: bool = False
    agreements: tuple[Agreement, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which plan a job has, or would get now, and why."""

    id: int = 0
    state: State = "queued"
    plan: int | None = None
    quality: float | None = None
    why: str = ""
    place: int = 0
    start_ms: int = 0
    finish_ms: int = 0
    deadline_ms: int = 0
    at_worker: bool = False


@dataclass(frozen=True, slots=True)
class PolicyChange:
    time_ms: int = 0
    policy: PolicyKind = "manual"
    model: str = ""
    model_digest: str = ""
    from_plan: int = field(default=0, metadata={"key": "from"})
    to_plan: int = field(default=0, metadata={"key": "to"})
    why: str = ""
    waiting_jobs: int = 0
    waiting_tokens: int = 0
    drain_ms: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """What `topic` names is set, the rest None."""

    sequence: int = 0  # by one; a gap means missed events
    time_ms: int = 0
    topic: str = ""
    job: int | None = None
    state: State | None = None
    attempt: int | None = None
    progress: Progress | None = None
    error: ErrorInfo | None = None
    worker: str | None = None
    reason: str | None = None
    plan: int | None = None
    change: LayerChange | None = None
