"""What both kinds of client share of sockets. A DEALER has no state that could be stuck: each reply is matched to its
request by number, and one that comes too late is dropped. Frames are only given to a connection that is there
(IMMEDIATE), so that no request that its asker has given up reaches a daemon that starts later."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from typing import Any

import zmq

from . import errors, wire
from .keys import Door, Keys
from .messages import Event

log = logging.getLogger("dslad")

IN_FLIGHT = 2048  # requests on one connection; the daemon takes 4,096, those that were given up included


def connect(sock: zmq.Socket[Any], url: str, keys: Keys | None) -> Door:
    """A DEALER to the jobs socket."""
    sock.setsockopt(zmq.IMMEDIATE, 1)
    sock.setsockopt(zmq.SNDHWM, 2 * IN_FLIGHT)
    sock.setsockopt(zmq.RCVHWM, 2 * IN_FLIGHT)
    return _connect(sock, url, keys)


def subscribe(sock: zmq.Socket[Any], url: str, topics: Iterable[str], keys: Keys | None) -> Door:
    """A SUB to the events socket."""
    for topic in tuple(topics) or ("",):
        sock.setsockopt(zmq.SUBSCRIBE, topic.encode())
    return _connect(sock, url, keys)


def _connect(sock: zmq.Socket[Any], url: str, keys: Keys | None) -> Door:
    sock.setsockopt(zmq.LINGER, 0)
    try:
        return Door(sock, url, keys)
    except zmq.ZMQError as error:
        sock.close()
        raise errors.InvalidArgument(
            f"cannot connect to '{url}': {error}; give ipc:///path/of/jobs.sock or tcp://host:port"
        ) from error


def no_answer(url: str, timeout: float, sent: bool, door: Door) -> errors.NoAnswer:
    """Says why where the system knows. A key that was refused is tried again with the next request."""
    if why := door.why():
        door.knock_again()
        return errors.NoAnswer(why, sent=sent)
    if sent:
        return errors.NoAnswer(f"no answer came from {url} within {timeout:g} s; what was asked may have been done")
    why = _why(url)
    remedy = "is dslad running? Start it, or name its jobs socket by the url or DSLAD_CONNECT"
    return errors.NoAnswer(f"nobody listens at {url}{why and f': {why}'}; {remedy}", sent=False)


def _why(url: str) -> str:
    path = url.removeprefix("ipc://")
    if path == url or path.startswith("@"):
        return ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
    return ""


def no_event(url: str, timeout: float | None) -> errors.NoAnswer:
    return errors.NoAnswer(f"no event came from {url} within {timeout} s", sent=False)


def event_of(frames: list[bytes]) -> Event:
    return wire.read(Event, wire.Envelope.parse(frames[-1]).body_of("event"))
