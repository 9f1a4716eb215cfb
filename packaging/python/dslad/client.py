"""The client with plain calls."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Concatenate, ParamSpec, TypeVar, cast

import zmq

from . import errors, operations, transport, wire
from .keys import Keys
from .messages import Event
from .steps import Ask, Item, Operation, Outcome, Pause, Settings, Stream, advance, like

P = ParamSpec("P")
T = TypeVar("T")


def _call(operation: Callable[Concatenate[Settings, P], Operation[T]]) -> Callable[Concatenate[Client, P], T]:
    @like(operation, "{}")
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(operation(self.settings, *args, **kwargs))

    return call


def _iterate(operation: Callable[Concatenate[Settings, P], Stream[T]]) -> Callable[Concatenate[Client, P], Iterator[T]]:
    @like(operation, "Iterator[{}]")
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._iterate(operation(self.settings, *args, **kwargs))

    return call


class Client:
    """A connection to the daemon at `url`: by default DSLAD_CONNECT, else ipc:///run/dslad/jobs.sock. An answer is
    waited for `timeout` seconds, then the call raises NoAnswer; the client stays of use and reconnects by itself.
    `client` names for whom jobs are submitted: by default DSLAD_CLIENT, else the login name. `max_frame_bytes` is to be
    lowered where the daemon's `listen.max_frame_bytes` is. On tcp, `server_key` is the file of the daemon's public key
    (DSLAD_SERVER_KEY, ~/.config/dslad/server.pub) and `key` that of the own secret one (DSLAD_KEY, ~/.config/dslad/key).

    To be used by one thread at a time. The methods are described in operations.py."""

    def __init__(
        self,
        url: str | None = None,
        timeout: float = 30.0,
        *,
        client: str | None = None,
        max_frame_bytes: int = wire.MAX_FRAME_BYTES,
        server_key: str | None = None,
        key: str | None = None,
    ) -> None:
        self.settings = Settings.of(url, timeout, client, max_frame_bytes, server_key, key)
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._numbers = itertools.count(1)
        self._door = transport.connect(self._socket, self.settings.url, self.settings.keys)

    def close(self) -> None:
        self._door.close()
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    submit = _call(operations.submit)
    summarize = _call(operations.summarize)
    ask = _call(operations.ask)
    generate = _call(operations.generate)
    job = _call(operations.job)
    jobs = _iterate(operations.jobs)
    result = _call(operations.result)
    wait = _call(operations.wait)
    results_as_completed = _iterate(operations.results_as_completed)
    cancel = _call(operations.cancel)
    requeue = _call(operations.requeue)
    purge = _call(operations.purge)
    status = _call(operations.status)
    stats = _call(operations.stats)
    ping = _call(operations.ping)
    pause = _call(operations.pause)
    drain = _call(operations.drain)
    resume = _call(operations.resume)
    layers = _call(operations.layers)
    plan = _call(operations.plan)
    set_plan = _call(operations.set_plan)
    policy = _call(operations.policy)
    set_policy = _call(operations.set_policy)
    explain = _call(operations.explain)
    policy_history = _call(operations.policy_history)

    def events(self, *topics: str, timeout: float | None = None) -> Events:
        """Events whose topics begin with one of these, by default all: an iterator that `close` ends; NoAnswer says
        that `timeout` seconds passed without an event. Lossy: what happens before the subscription has reached the
        daemon, or while nobody reads, may be missed; where `sequence` has a gap, ask for the state."""
        return Events(self.status().events_url, topics, timeout, self.settings.keys)

    def _run(self, operation: Operation[T]) -> T:
        outcome: Outcome = None
        try:
            while True:
                outcome = self._take(advance(operation, outcome))
        except StopIteration as end:
            return cast(T, end.value)

    def _iterate(self, stream: Stream[T]) -> Iterator[T]:
        outcome: Outcome = None
        while True:
            try:
                step = advance(stream, outcome)
            except StopIteration:
                return
            if isinstance(step, Item):
                yield step.value
                outcome = {}
            else:
                outcome = self._take(step)

    def _take(self, step: Ask | Pause) -> Outcome:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return {}
        try:
            return self._ask(step)
        except errors.DsladError as error:
            return error

    def _ask(self, ask: Ask) -> wire.Body:
        number = next(self._numbers)
        frame = wire.request_frame(ask.kind, number, ask.body, self.settings.max_frame_bytes)
        end = time.monotonic() + ask.timeout
        if not self._await(zmq.POLLOUT, end):
            raise transport.no_answer(self.settings.url, ask.timeout, False, self._door)
        self._socket.send(frame)
        while self._await(zmq.POLLIN, end):
            envelope = wire.Envelope.parse(self._socket.recv())
            if envelope.id == number or (envelope.id == 0 and envelope.kind == "error"):  # 0: it could not be read
                return envelope.body_of(ask.reply)
        raise transport.no_answer(self.settings.url, ask.timeout, True, self._door)

    def _await(self, what: int, end: float) -> bool:
        """Not longer than until the daemon refuses the key."""
        poller = zmq.Poller()
        poller.register(self._socket, what)
        if self._door.monitor:
            poller.register(self._door.monitor, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(max(0, round((end - time.monotonic()) * 1000))))
            if self._socket in ready or not ready or self._door.refused():
                return self._socket in ready


class Events:
    """An iterator of events; see Client.events."""

    def __init__(self, url: str, topics: Iterable[str], timeout: float | None, keys: Keys | None) -> None:
        self._url = url
        self._timeout = timeout
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self._door = transport.subscribe(self._socket, url, topics, keys)

    def close(self) -> None:
        self._door.close()
        self._socket.close()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Event:
        if self._socket.closed:
            raise StopIteration
        if not self._socket.poll(None if self._timeout is None else round(self._timeout * 1000)):
            raise transport.no_event(self._url, self._timeout)
        return transport.event_of(self._socket.recv_multipart())
