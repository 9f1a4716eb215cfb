"""The client for asyncio: the same methods as coroutines, any number of them at a time on one connection."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import zmq
import zmq.asyncio

from . import errors, operations, transport, wire
from .keys import Door
from .messages import Event
from .steps import Ask, Item, Operation, Outcome, Pause, Settings, Stream, advance, like

P = ParamSpec("P")
T = TypeVar("T")


def _call(
    operation: Callable[Concatenate[Settings, P], Operation[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @like(operation, "{}")
    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(operation(self.settings, *args, **kwargs))

    return call


def _iterate(
    operation: Callable[Concatenate[Settings, P], Stream[T]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]:
    @like(operation, "AsyncIterator[{}]")
    def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return self._iterate(operation(self.settings, *args, **kwargs))

    return call


def _socket(kind: int) -> zmq.asyncio.Socket:
    return zmq.asyncio.Context.instance().socket(kind)


class AsyncClient:
    """As Client, to be used within one event loop. Close it there, or use it as `async with`."""

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
        self._socket: zmq.asyncio.Socket | None = None  # once it is used, as it belongs to a loop
        self._door: Door | None = None  # of the socket
        self._reader: asyncio.Task[None] | None = None
        self._pending: dict[int, asyncio.Future[wire.Envelope]] = {}
        self._numbers = itertools.count(1)
        self._slots = asyncio.Semaphore(transport.IN_FLIGHT)
        self._closed = False

    async def close(self) -> None:
        """Requests that are under way raise NoAnswer."""
        self._closed = True
        if self._reader:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        self._fail(errors.NoAnswer("the client was closed before the answer came"))
        if self._socket and self._door:
            self._door.close()
            self._socket.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

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

    def events(self, *topics: str, timeout: float | None = None) -> AsyncEvents:
        """As Client.events: an asynchronous iterator, which subscribes with the first use or at `async with`."""
        return AsyncEvents(self, topics, timeout)

    async def _run(self, operation: Operation[T]) -> T:
        outcome: Outcome = None
        try:
            while True:
                outcome = await self._take(advance(operation, outcome))
        except StopIteration as end:
            return cast(T, end.value)

    async def _iterate(self, stream: Stream[T]) -> AsyncIterator[T]:
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
                outcome = await self._take(step)

    async def _take(self, step: Ask | Pause) -> Outcome:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return {}
        try:
            return await self._ask(step)
        except errors.DsladError as error:
            return error

    async def _ask(self, ask: Ask) -> wire.Body:
        async with self._slots:
            sock = self._open()
            number = next(self._numbers)
            frame = wire.request_frame(ask.kind, number, ask.body, self.settings.max_frame_bytes)
            answer: asyncio.Future[wire.Envelope] = asyncio.get_running_loop().create_future()
            self._pending[number] = answer
            sending = asyncio.ensure_future(sock.send(frame))
            try:
                async with asyncio.timeout(ask.timeout):
                    await sending
                    return (await answer).body_of(ask.reply)
            except TimeoutError:
                assert self._door
                raise transport.no_answer(
                    self.settings.url, ask.timeout, not sending.cancelled(), self._door
                ) from None
            finally:
                del self._pending[number]

    def _open(self) -> zmq.asyncio.Socket:
        if self._closed:
            raise RuntimeError("the client is closed")
        if not self._socket:
            self._socket = _socket(zmq.DEALER)
            self._door = transport.connect(self._socket, self.settings.url, self.settings.keys)
            self._reader = asyncio.create_task(self._read(self._socket), name="dslad replies")
        return self._socket

    async def _read(self, sock: zmq.asyncio.Socket) -> None:
        while True:
            try:
                envelope = wire.Envelope.parse((await sock.recv_multipart())[-1])
            except errors.BadReply as error:  # whose it was cannot be told
                self._fail(error)
                continue
            answer = self._pending.get(envelope.id)
            if answer and not answer.done():
                answer.set_result(envelope)
            elif envelope.kind == "error" and envelope.id == 0:
                transport.log.warning("the daemon could not read a frame: %s", envelope.body.get("message"))

    def _fail(self, error: errors.DsladError) -> None:
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(error)


class AsyncEvents:
    """An asynchronous iterator of events; see AsyncClient.events."""

    def __init__(self, client: AsyncClient, topics: tuple[str, ...], timeout: float | None) -> None:
        self._client = client
        self._topics = topics
        self._timeout = timeout
        self._url = ""
        self._socket: zmq.asyncio.Socket | None = None
        self._door: Door | None = None

    def close(self) -> None:
        if self._socket and self._door:
            self._door.close()
            self._socket.close()

    async def __aenter__(self) -> AsyncEvents:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> AsyncEvents:
        return self

    async def __anext__(self) -> Event:
        sock = await self._open()
        if sock.closed:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(self._timeout):
                return transport.event_of(await sock.recv_multipart())
        except TimeoutError:
            raise transport.no_event(self._url, self._timeout) from None

    async def _open(self) -> zmq.asyncio.Socket:
        if not self._socket:
            self._url = (await self._client.status()).events_url
            self._socket = _socket(zmq.SUB)
            self._door = transport.subscribe(self._socket, self._url, self._topics, self._client.settings.keys)
        return self._socket
