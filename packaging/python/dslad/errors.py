"""What goes wrong, as exceptions. Those with a code are the daemon's own error replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from .messages import JobInfo, Submitted


class DsladError(Exception):
    """Base of all. `code` is the protocol's number, 0 where the client itself found the fault."""

    code: int = 0
    submitted: Submitted | None = None  # jobs that were taken before it went wrong, where some may have been

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArgument(DsladError):
    """Malformed or beyond a bound; sending it again cannot help."""

    code = 1


class NotFound(DsladError):
    """There is no such job."""

    code = 2


class Refused(DsladError):
    """Understood, but policy or state forbids it: a deadline that cannot be met, a key of another job."""

    code = 3


class ResourceExhausted(DsladError):
    """A bound was hit, such as the queue's length; may succeed later or when smaller."""

    code = 4


class Unavailable(DsladError):
    """The daemon stops or takes no jobs, the disk is full, no worker is there; retrying is sane."""

    code = 5


class Corrupt(DsladError):
    """Stored data fails its checks."""

    code = 6


class Internal(DsladError):
    """A bug of the daemon."""

    code = 7


class NoAnswer(DsladError):
    """Nobody answered in time. Where `sent` is true the request may have been carried out all the same; where it is
    false nobody was there to send it to, and it has not been, nor will it be."""

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class BadReply(DsladError):
    """What came is not an answer as the protocol has it: something else listens there."""


class WaitTimeout(DsladError, TimeoutError):
    """The jobs have not all ended in time; they go on. `jobs` has what was last known of them, in the order asked."""

    def __init__(self, message: str, jobs: tuple[JobInfo, ...] = ()) -> None:
        super().__init__(message)
        self.jobs = jobs


class JobFailed(DsladError):
    """A job whose answer was wanted ended without one: `job` says how and why."""

    def __init__(self, job: JobInfo) -> None:
        why = f": {job.error.message}" if job.error else ""
        super().__init__(f"job {job.id} {'was ' if job.state == 'cancelled' else ''}{job.state}{why}")
        self.code = job.error.code if job.error else 0
        self.job = job


class _Codes:
    by_number: ClassVar[dict[int, type[DsladError]]] = {
        kind.code: kind
        for kind in (InvalidArgument, NotFound, Refused, ResourceExhausted, Unavailable, Corrupt, Internal)
    }


def of_code(code: int, message: str) -> DsladError:
    """The exception for an error reply; a code of a later daemon keeps its number."""
    error = _Codes.by_number.get(code, DsladError)(message)
    error.code = code
    return error
