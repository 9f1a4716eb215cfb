"""Connections by the thousand, each without a library and at the price of a descriptor: ZMTP 3.1 by hand (RFC 37), as far as a
DEALER of the NULL mechanism needs it. Once hands are shaken, nothing of it reads."""

import resource
import socket
import struct

import wire

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
READY_TO_LISTEN = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
MORE, LONG, COMMAND = 0x01, 0x02, 0x04  # flags of a frame


def command(body):
    return bytes((COMMAND, len(body))) + body


def frame(body):
    return struct.pack(">BQ", LONG, len(body)) + body


def part(body):
    """A frame that another follows."""
    return struct.pack(">BQ", LONG | MORE, len(body)) + body


def await_command(one):
    """Reads the other side's greeting and its first command."""
    start = one.recv(len(GREETING) + 2, socket.MSG_WAITALL)
    one.recv(start[-1], socket.MSG_WAITALL)


def raise_limit_of_files():
    """To the hard limit; returns that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Crowd:
    """Connections to a local socket that are held until close()."""

    def __init__(self, path):
        self.path = str(path)
        self.held = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for one in self.held:
            one.close()
        self.held = []

    def add(self, said=b""):
        """One more, which shakes hands and then says this, or as much of it as the socket takes."""
        one = self.mute()
        one.sendall(GREETING + command(READY))
        if said:
            await_command(one)  # a message before that would be an error
            one.setblocking(False)
            one.send(said)

    def mute(self):
        """One that says nothing, not even a greeting."""
        one = socket.socket(socket.AF_UNIX)
        self.held.append(one)
        one.connect(self.path)  # waits while the daemon has others to let in
        return one

    def half(self, body):
        """Half of a message."""
        whole = frame(body)
        self.add(whole[: len(whole) // 2])

    def pour(self, start, body, ready=READY):
        """A message's beginning and then more than a socket holds; False where the other side has cut it off."""
        one = self.mute()
        one.settimeout(60)
        try:
            one.sendall(GREETING + command(ready))
            await_command(one)
            one.sendall(start)
            one.sendall(body)
        except ConnectionError:
            return False
        return True

    def asks(self, kind, body, times):
        """Asks and never reads an answer."""
        self.add(frame(wire.pack(kind, body, 1)) * times)
