"""What operations (operations.py) are made of. An operation is a generator: it yields what is to be asked (`Ask`) or
how long to pause (`Pause`), is sent the reply's body, and returns its value; a stream also yields `Item`s. client.py
runs them on a blocking socket, aio.py in an event loop."""

from __future__ import annotations

import functools
import inspect
import os
import pwd
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from . import errors, wire
from .keys import Keys

T = TypeVar("T")
S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_URL = "ipc:///run/dslad/jobs.sock"


@dataclass(frozen=True, slots=True)
class Settings:
    url: str
    timeout: float  # seconds for an answer
    client: str  # for whom jobs are submitted
    max_frame_bytes: int
    keys: Keys | None  # on tcp

    @staticmethod
    def of(
        url: str | None,
        timeout: float,
        client: str | None,
        max_frame_bytes: int,
        server_key: str | None,
        key: str | None,
    ) -> Settings:
        """With the environment's values and the defaults for what is None."""
        url = os.environ.get("DSLAD_CONNECT") or DEFAULT_URL if url is None else url
        client = os.environ.get("DSLAD_CLIENT") or _login_name() if client is None else client
        return Settings(url, timeout, client, max_frame_bytes, Keys.of(url, server_key, key))


def _login_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request; its reply's body is sent back, an error reply or a NoAnswer thrown."""

    kind: str
    body: wire.Body
    reply: str  # the kind that answers it
    timeout: float


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    value: T


Operation: TypeAlias = Generator[Ask | Pause, wire.Body, T]
Stream: TypeAlias = Generator[Ask | Pause | Item[T], wire.Body, None]
Outcome: TypeAlias = wire.Body | errors.DsladError | None  # of a step; None: there was none yet


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """A kind of request and what answers it."""

    kind: str
    reply: str
    type: type[T]

    def __call__(self, settings: Settings, body: wire.Body | None = None, timeout: float | None = None) -> Operation[T]:
        timeout = settings.timeout if timeout is None else timeout
        return wire.read(self.type, (yield Ask(self.kind, body or {}, self.reply, timeout)))


def advance(operation: Generator[S, wire.Body, Any], outcome: Outcome) -> S:
    """The next step; StopIteration with the value where it was the last."""
    if outcome is None:
        return next(operation)
    return operation.throw(outcome) if isinstance(outcome, errors.DsladError) else operation.send(outcome)


def like(operation: Callable[..., Any], returns: str) -> Callable[[F], F]:
    """A method that looks as its operation does: name, text and signature, but for what it returns."""

    def decorate(call: F) -> F:
        functools.update_wrapper(call, operation)
        signature = inspect.signature(operation)
        _, *parameters = signature.parameters.values()
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        value = str(signature.return_annotation).partition("[")[2].removesuffix("]")
        call.__dict__["__signature__"] = signature.replace(
            parameters=[itself, *parameters], return_annotation=returns.format(value)
        )
        return call

    return decorate
