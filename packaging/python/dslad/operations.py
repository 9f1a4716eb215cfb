"""What a client does, once for both kinds of client: each function is a method of both, with the client's settings in
the place of `self` (steps.py)."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

from . import errors, messages, wire
from .messages import Job, JobInfo, JobOptions, PolicyKind, QueueMode, Result, State, Submitted
from .steps import Item, Operation, Pause, Request, Settings, Stream

PAGE = 256  # jobs in a page of `list`
PLAN_TIMEOUT_S = 90.0  # workers confirm a plan between two steps
WAIT_S = 5.0  # the longest `wait` of one request, so that the loss of a daemon is noticed
LOOK_S = 0.5  # the same where each job is to be told of when it has ended
GRACE_S = 5.0  # for the answer to a `wait` whose time is up, doubled each time
PAUSE_S = 0.1  # before a request is repeated, doubled each time up to the longest
LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class _Pong:
    version: str = ""


@dataclass(frozen=True, slots=True)
class _JobList:
    jobs: tuple[JobInfo, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class _Waited:
    jobs: tuple[JobInfo, ...] = ()
    done: bool = False


@dataclass(frozen=True, slots=True)
class _ResultPage:
    job: JobInfo = JobInfo()
    outputs: tuple[messages.Output, ...] = ()
    metrics: messages.Metrics = messages.Metrics()
    rerun: messages.Rerun | None = None
    next: int = 0


@dataclass(frozen=True, slots=True)
class _Purged:
    jobs: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class _Queue:
    mode: QueueMode = "open"


@dataclass(frozen=True, slots=True)
class _Layers:
    models: tuple[messages.ModelLayers, ...] = ()


@dataclass(frozen=True, slots=True)
class _Plans:
    workers: tuple[messages.WorkerPlan, ...] = ()


@dataclass(frozen=True, slots=True)
class _Changes:
    changes: tuple[messages.PolicyChange, ...] = ()


_PING = Request("ping", "pong", _Pong)
_STATUS = Request("status", "daemon_status", messages.Status)
_STATS = Request("stats", "stats_reply", messages.Stats)
_SUBMIT = Request("submit", "submitted", Submitted)
_JOB = Request("job", "job_info", JobInfo)
_LIST = Request("list", "job_list", _JobList)
_RESULT = Request("result", "job_result", _ResultPage)
_WAIT = Request("wait", "waited", _Waited)
_CANCEL = Request("cancel", "cancelled", messages.Cancelled)
_REQUEUE = Request("requeue", "requeued", messages.Requeued)
_PURGE = Request("purge", "purged", _Purged)
_QUEUE_SET = Request("queue_set", "queue_reply", _Queue)
_LAYERS = Request("layers", "layers_reply", _Layers)
_PLAN_SHOW = Request("plan_show", "plan_reply", _Plans)
_PLAN_SET = Request("plan_set", "plan_reply", _Plans)
_POLICY_SHOW = Request("policy_show", "policy_reply", messages.Policy)
_POLICY_SET = Request("policy_set", "policy_reply", messages.Policy)
_EXPLAIN = Request("policy_explain", "job_verdict", messages.Verdict)
_HISTORY = Request("policy_history", "policy_history_reply", _Changes)


# The daemon -----------------------------------------------------------------------------------------------------------


def ping(settings: Settings) -> Operation[str]:
    """The daemon's version."""
    return (yield from _PING(settings)).version


def status(settings: Settings) -> Operation[messages.Status]:
    return (yield from _STATUS(settings))


def stats(settings: Settings) -> Operation[messages.Stats]:
    return (yield from _STATS(settings))


def pause(settings: Settings) -> Operation[QueueMode]:
    """Jobs are taken and none is given out; what runs goes on. Kept over restarts, as are the other two."""
    return (yield from _set_queue(settings, "paused"))


def drain(settings: Settings) -> Operation[QueueMode]:
    """No job is taken; what waits is run."""
    return (yield from _set_queue(settings, "draining"))


def resume(settings: Settings) -> Operation[QueueMode]:
    """Jobs are taken and run, as always."""
    return (yield from _set_queue(settings, "open"))


def _set_queue(settings: Settings, mode: QueueMode) -> Operation[QueueMode]:
    return (yield from _QUEUE_SET(settings, {"mode": mode})).mode


# Submitting -----------------------------------------------------------------------------------------------------------


def submit(
    settings: Settings,
    jobs: Job | Iterable[Job],
    *,
    client: str | None = None,
    retry_failed: bool = False,
    retries: int = 0,
) -> Operation[Submitted]:
    """Hands jobs to the queue; returns once they are on the daemon's disk.

    Any number of jobs is taken, in as many requests as it takes; each request's jobs are taken or none. Where one goes
    wrong, the exception's `submitted` has the jobs of those before it.

    When no answer comes (NoAnswer with `sent`), nobody knows whether the jobs were taken, and submitting them again may
    run them twice. So that is never done silently; but where every job has an `idempotency_key`, `retries` says how
    often to ask again after a NoAnswer or Unavailable, and the answer then is the jobs that were taken first.

    `client` names for whom the jobs are, by default who the client was made for. With `retry_failed`, jobs that are
    known by their keys and have failed, were cancelled or have expired run again."""
    batch = [jobs] if isinstance(jobs, Job) else list(jobs)
    if retries and not all(job.idempotency_key for job in batch):
        raise errors.InvalidArgument("retries needs an idempotency_key for every job, or some might run twice")
    shared = {"client": settings.client if client is None else client, "retry_failed": retry_failed}
    taken: list[Submitted] = []
    for part in list(_batches(batch, settings.max_frame_bytes)):  # all are weighed before the first is sent
        try:
            reply = yield from _submit(settings, {"jobs": part, **shared}, retries)
            if not len(reply.ids) == len(reply.duplicates) == len(part):
                raise errors.BadReply(f"the daemon acknowledged {len(reply.ids)} jobs of {len(part)}")
        except errors.DsladError as error:
            error.submitted = Submitted.join(taken)
            raise
        taken.append(reply)
    return Submitted.join(taken)


def _submit(settings: Settings, body: wire.Body, retries: int) -> Operation[Submitted]:
    while True:
        try:
            return (yield from _SUBMIT(settings, body))
        except (errors.NoAnswer, errors.Unavailable):
            if retries <= 0:
                raise
        retries -= 1
        yield Pause(LONGEST_PAUSE_S)


def _batches(jobs: Sequence[Job], max_frame_bytes: int) -> Iterator[list[wire.Body]]:
    """As many jobs a request as it holds, but at least one."""
    most = max_frame_bytes - 2048  # for the envelope and the client's name
    batch: list[wire.Body] = []
    room = 0
    for job in jobs:
        body = job.body()
        size = len(wire.pack(body))
        if size > most:
            raise errors.InvalidArgument(f"a job has {size} bytes; a request takes at most {most}")
        if batch and (size > room or len(batch) == wire.MAX_BATCH):
            yield batch
            batch = []
        if not batch:
            room = most
        batch.append(body)
        room -= size
    if batch:
        yield batch


def summarize(
    settings: Settings,
    document: str,
    *,
    timeout: float | None = None,
    client: str | None = None,
    **options: Unpack[JobOptions],
) -> Operation[Result]:
    """Submits one job, waits and returns its result; JobFailed where it has none. After `timeout` seconds WaitTimeout
    is raised; the job goes on then, as after any other exception whose `submitted` names it."""
    return (yield from _answer(settings, Job.summarize(document, **options), timeout, client))


def ask(
    settings: Settings,
    document: str,
    questions: str | Sequence[str],
    *,
    timeout: float | None = None,
    client: str | None = None,
    **options: Unpack[JobOptions],
) -> Operation[Result]:
    """As `summarize`, for one or more questions on a document: the result has an output for each, in their order."""
    return (yield from _answer(settings, Job.ask(document, questions, **options), timeout, client))


def generate(
    settings: Settings,
    prompt: str,
    *,
    timeout: float | None = None,
    client: str | None = None,
    **options: Unpack[JobOptions],
) -> Operation[Result]:
    """As `summarize`, for a text to continue."""
    return (yield from _answer(settings, Job.generate(prompt, **options), timeout, client))


def _answer(settings: Settings, job: Job, timeout: float | None, client: str | None) -> Operation[Result]:
    submitted = yield from submit(settings, job, client=client)
    try:
        yield from wait(settings, submitted.id, timeout)
        answer = yield from result(settings, submitted.id)
        if not answer.succeeded:
            raise errors.JobFailed(answer.job)
    except errors.DsladError as error:
        error.submitted = submitted
        raise
    return answer


# Jobs -----------------------------------------------------------------------------------------------------------------


def job(settings: Settings, id: int) -> Operation[JobInfo]:
    return (yield from _JOB(settings, {"id": id}))


def jobs(
    settings: Settings,
    *,
    state: State | None = None,
    label: str = "",
    client: str = "",
    owner: str = "",
    limit: int | None = None,
) -> Stream[JobInfo]:
    """All jobs that match, newest first, at most `limit`; asked for page by page as they are used."""
    before = 0
    while limit is None or limit > 0:
        size = PAGE if limit is None else min(PAGE, limit)
        page = yield from _LIST(
            settings,
            {"state": state, "label": label, "client": client, "owner": owner, "limit": size, "before_id": before},
        )
        for info in page.jobs:
            yield Item(info)
        if not page.more or not page.jobs:
            return
        before = page.jobs[-1].id
        limit = None if limit is None else limit - len(page.jobs)


def result(settings: Settings, id: int) -> Operation[Result]:
    """All pages of it, in whatever state the job is: without outputs unless it succeeded."""
    page = yield from _RESULT(settings, {"id": id})
    outputs, rerun = list(page.outputs), list(page.rerun.outputs if page.rerun else ())
    while page.next:
        page = yield from _RESULT(settings, {"id": id, "from": page.next})
        outputs += page.outputs
        rerun += page.rerun.outputs if page.rerun else ()
    again = dataclasses.replace(page.rerun, outputs=tuple(rerun)) if page.rerun else None
    return Result(page.job, tuple(outputs), page.metrics, again)


def wait(settings: Settings, ids: int | Iterable[int], timeout: float | None = None) -> Operation[list[JobInfo]]:
    """Returns one or many jobs, in the order asked, once all have ended, however they did. After `timeout` seconds
    WaitTimeout, a TimeoutError, is raised. A daemon that stops and comes back meanwhile is waited for: one that is
    silent for longer than the client's own timeout is a NoAnswer."""
    wanted = _listed(ids)
    watch = _Watch(settings, wanted, timeout)
    for part in _parts(list(watch.known)):
        while part:
            seen = yield from watch.look(part, WAIT_S)
            part = [info.id for info in seen if not info.ended]
            if watch.is_over():
                break
    infos = [watch.known[id] for id in wanted]
    if not all(info.ended for info in infos):
        raise watch.timeout()
    return infos


def results_as_completed(settings: Settings, ids: Iterable[int], timeout: float | None = None) -> Stream[Result]:
    """The results of jobs, each as soon as its job has ended, however it did: see `Result.succeeded`. Raises as `wait`
    does; `timeout` is for all of them together."""
    watch = _Watch(settings, ids, timeout)
    waiting = list(watch.known)
    while waiting:
        for part in _parts(waiting):
            for info in (yield from watch.look(part, LOOK_S)):
                if info.ended:
                    yield Item((yield from result(settings, info.id)))
        waiting = [id for id in waiting if not watch.known[id].ended]
        if waiting and watch.is_over():
            raise watch.timeout()


def cancel(settings: Settings, ids: int | Iterable[int]) -> Operation[messages.Cancelled]:
    """Ends one or many jobs, those that run too; those that have ended stay as they are."""
    done = messages.Cancelled()
    for part in _parts(_listed(ids)):
        more = yield from _CANCEL(settings, {"ids": part})
        done = messages.Cancelled(
            done.jobs + more.jobs, done.cancelled + more.cancelled, done.not_found + more.not_found
        )
    return done


def requeue(settings: Settings, ids: int | Iterable[int]) -> Operation[messages.Requeued]:
    """Jobs that failed, were cancelled or have expired wait again, with all their attempts; others stay as they are."""
    done = messages.Requeued()
    for part in _parts(_listed(ids)):
        more = yield from _REQUEUE(settings, {"ids": part})
        done = messages.Requeued(done.jobs + more.jobs, done.requeued + more.requeued, done.not_found + more.not_found)
    return done


def purge(settings: Settings, ended_before_ms: int, *, state: State | None = None, label: str = "") -> Operation[int]:
    """Forgets jobs that ended so long ago or longer (0: all that have ended), with their texts and results, in as many
    requests as it takes; returns how many."""
    gone = 0
    more = True
    while more:
        reply = yield from _PURGE(settings, {"ended_before_ms": ended_before_ms, "state": state, "label": label})
        gone += reply.jobs
        more = reply.more
    return gone


def _listed(ids: int | Iterable[int]) -> list[int]:
    return [ids] if isinstance(ids, int) else list(ids)


def _parts(ids: list[int]) -> Iterator[list[int]]:
    return (ids[begin : begin + wire.MAX_BATCH] for begin in range(0, len(ids), wire.MAX_BATCH))


class _Watch:
    """Jobs that are waited for, over all requests that it takes."""

    def __init__(self, settings: Settings, ids: Iterable[int], timeout: float | None) -> None:
        self.known = {id: JobInfo(id) for id in ids}  # in the order asked
        self._settings = settings
        self._end = None if timeout is None else time.monotonic() + timeout

    def is_over(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    def look(self, ids: list[int], longest: float) -> Operation[tuple[JobInfo, ...]]:
        """The jobs as they are once all have ended, or after the longest time. Asks again where the answer was lost
        with a daemon that stopped, or where too many wait at the moment."""
        grace, pause = min(GRACE_S, self._settings.timeout), PAUSE_S
        last_try = time.monotonic() + longest + grace + self._settings.timeout
        while True:
            hold = longest if self._end is None else min(longest, max(0.0, self._end - time.monotonic()))
            try:
                body = {"ids": ids, "timeout_ms": math.ceil(hold * 1000)}
                waited = yield from _WAIT(self._settings, body, hold + grace)
                self.known.update((info.id, info) for info in waited.jobs)
                return waited.jobs
            except (errors.NoAnswer, errors.Unavailable, errors.ResourceExhausted) as error:
                if self.is_over():
                    raise self.timeout() from error
                if time.monotonic() >= last_try:
                    raise
            yield Pause(pause)
            grace, pause = 2 * grace, min(2 * pause, LONGEST_PAUSE_S)

    def timeout(self) -> errors.WaitTimeout:
        late = [info.id for info in self.known.values() if not info.ended]
        return errors.WaitTimeout(
            f"{len(late)} of {len(self.known)} jobs have not ended in time, the first is {late[0]}; they go on",
            tuple(self.known.values()),
        )


# Plans and policy -----------------------------------------------------------------------------------------------------


def layers(settings: Settings) -> Operation[tuple[messages.ModelLayers, ...]]:
    return (yield from _LAYERS(settings)).models


def plan(settings: Settings) -> Operation[tuple[messages.WorkerPlan, ...]]:
    """The plan of each connected worker."""
    return (yield from _PLAN_SHOW(settings)).workers


def set_plan(
    settings: Settings, plan: int, *, allow_undistilled: bool = False, reason: str = "", timeout: float | None = None
) -> Operation[tuple[messages.WorkerPlan, ...]]:
    """Sets it by hand; returns once every connected worker has confirmed or refused (`error`)."""
    body = {"plan": plan, "allow_undistilled": allow_undistilled, "reason": reason}
    longest = max(settings.timeout, PLAN_TIMEOUT_S) if timeout is None else timeout
    return (yield from _PLAN_SET(settings, body, longest)).workers


def policy(settings: Settings) -> Operation[messages.Policy]:
    return (yield from _POLICY_SHOW(settings))


def set_policy(
    settings: Settings,
    policy: PolicyKind | None = None,
    *,
    static_plan: int | None = None,
    min_quality: float | None = None,
    target_drain_ms: int | None = None,
    dwell_ms: int | None = None,
    idle_after_ms: int | None = None,
    idle_window: str | None = None,
    canary_share: float | None = None,
    min_agreement: float | None = None,
) -> Operation[messages.Policy]:
    """Changes what is named and leaves the rest; returns once it is on disk."""
    body = {
        "policy": policy,
        "static_plan": static_plan,
        "min_quality": min_quality,
        "target_drain_ms": target_drain_ms,
        "dwell_ms": dwell_ms,
        "idle_after_ms": idle_after_ms,
        "idle_window": idle_window,
        "canary_share": canary_share,
        "min_agreement": min_agreement,
    }
    return (yield from _POLICY_SET(settings, {key: value for key, value in body.items() if value is not None}))


def explain(settings: Settings, id: int) -> Operation[messages.Verdict]:
    """Which plan a job has, or would get now, and why."""
    return (yield from _EXPLAIN(settings, {"id": id}))


def policy_history(settings: Settings, limit: int = 100) -> Operation[tuple[messages.PolicyChange, ...]]:
    """Changes of the policy's plan, newest first, with the load that caused them."""
    return (yield from _HISTORY(settings, {"limit": limit})).changes
