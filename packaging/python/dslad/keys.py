"""Keys, by which peers on tcp know each other: their files (docs/formats.md), and a connection that uses them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from . import errors

_FORMS = {"dslad-secret-key": ("public", "secret"), "dslad-public-key": ("public",)}


@dataclass(frozen=True, slots=True)
class Keys:
    server: bytes  # public
    public: bytes
    secret: bytes
    server_file: str
    own_file: str

    @staticmethod
    def of(url: str, server_key: str | None, key: str | None) -> Keys | None:
        """None where `url` is not tcp. InvalidArgument says which file is missing or wrong, and what to do."""
        if not url.startswith("tcp://"):
            return None
        folder = Path("~/.config/dslad").expanduser()
        server_file = server_key or os.environ.get("DSLAD_SERVER_KEY") or str(folder / "server.pub")
        own_file = key or os.environ.get("DSLAD_KEY") or str(folder / "key")
        own = _read(url, own_file, "dslad-secret-key", f"make a key with dslactl keygen {own_file}, or name another by "
                    "`key` or DSLAD_KEY")  # fmt: skip
        server = _read(url, server_file, "dslad-public-key", "ask the daemon's operator for its public key, and name it "
                       "by `server_key` or DSLAD_SERVER_KEY")  # fmt: skip
        return Keys(server["public"], own["public"], own["secret"], server_file, own_file)


def _read(url: str, file: str, form: str, remedy: str) -> dict[str, bytes]:
    try:
        with open(file, encoding="utf-8") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            lines = [line.split() for line in opened]
    except OSError as error:
        raise errors.InvalidArgument(f"{url} is reached with keys only: {file}: {error.strerror}; {remedy}") from error
    except UnicodeDecodeError as error:
        raise errors.InvalidArgument(f"{file}: is no key of dslad: dslactl keygen makes them") from error
    if form == "dslad-secret-key" and mode & 0o077:
        raise errors.InvalidArgument(f"{file}: others may read this secret key (mode {mode:04o}): chmod 600 it")
    wanted = [line for line in lines if line and not line[0].startswith("#")]
    if not wanted or wanted[0] != [form, "1"]:
        raise errors.InvalidArgument(f"{file}: is no {form.replace('-', ' ')} of version 1: dslactl keygen makes them")
    found = {line[0]: line[1].encode() for line in wanted[1:] if len(line) == 2 and len(line[1]) == 40}
    if len(wanted) != 1 + len(found) or set(found) != set(_FORMS[form]):
        raise errors.InvalidArgument(f"{file}: has other lines than {' and '.join(_FORMS[form])}; copy the file again")
    return found


class Door:
    """A socket's way to the daemon. Knows, where keys are used, how the latest handshake went, of which ZeroMQ says
    nothing to who waits for an answer."""

    def __init__(self, sock: zmq.Socket[Any], url: str, keys: Keys | None) -> None:
        self._sock, self._url, self.keys = sock, url, keys
        self.monitor: zmq.Socket[bytes] | None = None
        self._latest = 0
        if keys:
            sock.curve_serverkey, sock.curve_publickey, sock.curve_secretkey = keys.server, keys.public, keys.secret
            address = f"inproc://dslad-handshakes-{id(self)}"
            sock.monitor(address, zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
                         | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)  # fmt: skip
            self.monitor = zmq.Context.shadow(sock.context.underlying).socket(zmq.PAIR)
            self.monitor.setsockopt(zmq.LINGER, 0)
            # Where nobody reads, ZeroMQ's thread would wait, and with it every socket of the process.
            self.monitor.setsockopt(zmq.RCVHWM, 0)
            sock.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
            self.monitor.connect(address)
        sock.connect(url)

    def close(self) -> None:
        """To be called before the socket is closed."""
        if self.monitor and not self.monitor.closed:
            self._sock.disable_monitor()  # an event for a monitor that is away would hold ZeroMQ's thread for good
            self.monitor.close()

    def refused(self) -> bool:
        return self._handshake() == zmq.EVENT_HANDSHAKE_FAILED_AUTH

    def why(self) -> str:
        """Why nobody answers, where the keys have to do with it."""
        if not self.keys:
            return ""
        if self.refused():
            return (f"the daemon at {self._url} does not know the key {self.keys.own_file}: its operator can authorise "
                    f"{self.keys.own_file}.pub, or name another by `key` or DSLAD_KEY")  # fmt: skip
        if self._handshake() in (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL):
            return (f"what answers at {self._url} does not have the key {self.keys.server_file}; name the daemon's "
                    "public key by `server_key` or DSLAD_SERVER_KEY")  # fmt: skip
        return ""

    def knock_again(self) -> None:
        """ZeroMQ gives up for good when a key is refused; the daemon's operator may authorise it any time."""
        if self.refused():
            self._latest = 0
            try:
                self._sock.disconnect(self._url)
            except zmq.ZMQError:  # it has gone already
                pass
            self._sock.connect(self._url)

    def _handshake(self) -> int:
        while self.monitor and not self.monitor.closed and self.monitor.poll(0):
            self._latest = int(parse_monitor_message(self.monitor.recv_multipart())["event"])
        return self._latest
