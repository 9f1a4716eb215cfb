"""Client of dslad, a durable batch queue for long documents.

    with dslad.Client() as client:
        print(client.summarize(open("report.txt").read()).text)

`Client` has plain calls, `AsyncClient` the same as coroutines. Both are made of the operations in operations.py, where
each is described; the messages, with the protocol's own names, are in messages.py. docs/protocol.md of the project is
the specification."""

from .aio import AsyncClient, AsyncEvents
from .client import Client, Events
from .errors import (
    BadReply,
    Corrupt,
    DsladError,
    Internal,
    InvalidArgument,
    JobFailed,
    NoAnswer,
    NotFound,
    Refused,
    ResourceExhausted,
    Unavailable,
    WaitTimeout,
)
from .messages import (
    Agreement,
    Cancelled,
    CostModel,
    EngineStats,
    ErrorInfo,
    Event,
    FinishReason,
    Job,
    JobInfo,
    JobOptions,
    LayerChange,
    LayerInfo,
    LayerState,
    Metrics,
    ModelLayers,
    Output,
    Overflow,
    Phase,
    PlanOffer,
    PlanSpeed,
    Policy,
    PolicyChange,
    PolicyKind,
    PolicyLevel,
    Progress,
    QueueMode,
    Requeued,
    Rerun,
    Result,
    State,
    Stats,
    Status,
    Submitted,
    Task,
    Verdict,
    WorkerInfo,
    WorkerPlan,
)
from .version import __version__

__all__ = [
    "Agreement", "AsyncClient", "AsyncEvents", "BadReply", "Cancelled", "Client", "Corrupt", "CostModel", "DsladError",
    "EngineStats", "ErrorInfo", "Event", "Events", "FinishReason", "Internal", "InvalidArgument", "Job", "JobFailed",
    "JobInfo", "JobOptions", "LayerChange", "LayerInfo", "LayerState", "Metrics", "ModelLayers", "NoAnswer", "NotFound",
    "Output", "Overflow", "Phase", "PlanOffer", "PlanSpeed", "Policy", "PolicyChange", "PolicyKind", "PolicyLevel",
    "Progress", "QueueMode", "Refused", "Requeued", "Rerun", "ResourceExhausted", "Result", "State", "Stats", "Status",
    "Submitted", "Task", "Unavailable", "Verdict", "WaitTimeout", "WorkerInfo", "WorkerPlan", "__version__",
]  # fmt: skip
