"""Frames and what is in them: no sockets, no clocks. Encoding is checked against the protocol's bounds before anything
is sent, because a frame that is too large makes ZeroMQ close the connection."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union

import msgpack

from . import errors

VERSION = 1
MAX_FRAME_BYTES = 16 << 20
MAX_BATCH = 1024  # jobs or ids in one request

Body = Mapping[str, Any]
T = TypeVar("T")


def pack(value: object) -> bytes:
    """msgpack, or InvalidArgument where a value is none of the protocol's."""
    try:
        packed = msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:  # text that is not Unicode is a ValueError
        raise errors.InvalidArgument(f"the request cannot be encoded: {error}") from error
    assert isinstance(packed, bytes)
    return packed


def request_frame(kind: str, number: int, body: Body, max_bytes: int) -> bytes:
    frame = pack({"version": VERSION, "kind": kind, "id": number, "body": body})
    if len(frame) > max_bytes:
        raise errors.InvalidArgument(f"the request has {len(frame)} bytes; a frame takes at most {max_bytes}")
    return frame


@dataclasses.dataclass(frozen=True, slots=True)
class Envelope:
    version: int = 0
    kind: str = ""
    id: int = 0
    body: dict[str, Any] = dataclasses.field(default_factory=dict)

    @staticmethod
    def parse(frame: bytes) -> Envelope:
        """BadReply where it is none, or of another version."""
        try:
            value = msgpack.unpackb(frame, raw=False)
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise errors.BadReply(f"a frame of {len(frame)} bytes came that is not msgpack: {error}") from error
        envelope = read(Envelope, value)
        if envelope.version != VERSION:
            raise errors.BadReply(f"a message of version {envelope.version} came; this client speaks {VERSION}")
        return envelope

    def body_of(self, kind: str) -> Body:
        """The body of the reply that is wanted; an error reply is raised."""
        if self.kind == "error":
            raise errors.of_code(int(self.body.get("code", 7)), str(self.body.get("message", "")))
        if self.kind != kind:
            raise errors.BadReply(f"a reply '{self.kind}' came instead of '{kind}'")
        return self.body


def read(cls: type[T], body: object) -> T:
    """A dataclass from a map: unknown keys are skipped, absent keys and nil take the defaults, and a value of another
    type is a BadReply. Words are passed on as they are: a later daemon may have more of them."""
    if not isinstance(body, dict):
        raise errors.BadReply(f"{cls.__name__} is {type(body).__name__}, not a map")
    values = {}
    for name, key, reader in _fields(typing.cast(Any, cls)):
        value = body.get(key)
        if value is not None:
            try:
                values[name] = reader(value)
            except TypeError as error:
                raise errors.BadReply(f"{cls.__name__}.{key} has the wrong type: {error}") from None
    return cls(**values)


@functools.cache
def _fields(cls: Any) -> tuple[tuple[str, str, Callable[[Any], Any]], ...]:
    """Of each field its name, its key in the map (`from` is no name in Python) and what reads it."""
    hints = typing.get_type_hints(cls)
    return tuple(
        (field.name, field.metadata.get("key", field.name), _reader(hints[field.name]))
        for field in dataclasses.fields(cls)
    )


def _reader(hint: Any) -> Callable[[Any], Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):  # X | None
        return _reader(next(argument for argument in arguments if argument is not types.NoneType))
    if origin is Literal:
        return functools.partial(_exactly, str)
    if origin is tuple:
        element = _reader(arguments[0])
        return lambda value: tuple(map(element, _exactly(list, value)))
    if origin is dict:
        return functools.partial(_exactly, dict)
    if dataclasses.is_dataclass(hint):
        return functools.partial(read, typing.cast(type[Any], hint))
    if hint is float:
        return lambda value: float(_exactly(int if type(value) is int else float, value))
    return functools.partial(_exactly, hint)


def _exactly(wanted: type[Any], value: Any) -> Any:
    if type(value) is not wanted:  # a bool is no int here
        raise TypeError(f"{type(value).__name__}, not {wanted.__name__}")
    return value
