"""The daemon's side of the workers' socket, for tests that start a real worker and say themselves what it is to do."""

import time

import zmq

import harness
import wire


class Daemon:
    """The daemon's side of the workers' socket; knows one worker."""

    def __init__(self, url):
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        # No bound: a test may wait long for something else, and what the worker says meanwhile must not be lost.
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.bind(url)
        self.worker = None

    def receive(self, *kinds):
        """The next message of one of these kinds; others on the way are dropped."""
        deadline = time.monotonic() + harness.PATIENCE
        while time.monotonic() < deadline:
            message = self.next(max(0.0, deadline - time.monotonic()))
            if message and message.kind in kinds:
                return message
        raise wire.Silence(f"no {' or '.join(kinds)}")

    def next(self, seconds):
        """The next message; None where none comes within that time."""
        if not self.socket.poll(int(seconds * 1000)):
            return None
        self.worker, frame = self.socket.recv_multipart()
        return wire.Message(frame)

    def send(self, kind, **body):
        self.socket.send_multipart([self.worker, wire.pack(kind, body)])
