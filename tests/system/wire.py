"""A peer of dslad's sockets, written from docs/protocol.md alone: it shares no line with the product, so that the
document is what the tests prove. One DEALER socket, msgpack maps, requests matched by number. Not thread-safe."""

import itertools
import time

import msgpack
import zmq

VERSION = 1
INVALID_ARGUMENT, NOT_FOUND, REFUSED, RESOURCE_EXHAUSTED, UNAVAILABLE, CORRUPT, INTERNAL = range(1, 8)
FINAL = {"succeeded", "failed", "cancelled", "expired"}


class Silence(Exception):
    """Nothing came in time."""


class Refusal(Exception):
    """The peer answered with kind `error`."""

    def __init__(self, code, message):
        super().__init__(f"error {code}: {message}")
        self.code = code
        self.message = message


class Message:
    def __init__(self, frame):
        envelope = msgpack.unpackb(frame, raw=False)
        self.version = envelope["version"]
        self.kind = envelope["kind"]
        self.id = envelope.get("id", 0)
        self.body = envelope["body"]

    def __repr__(self):
        return f"{self.kind}#{self.id} {self.body}"


def pack(kind, body=None, number=0, version=VERSION):
    return msgpack.packb({"version": version, "kind": kind, "id": number, "body": body or {}}, use_bin_type=True)


def key_of(file):
    """A file of keys as docs/formats.md has it: {"public": ..., "secret": ...}."""
    with open(file, encoding="ascii") as opened:
        lines = [line.split() for line in opened]
    return {line[0]: line[1].encode() for line in lines if line and line[0] in ("public", "secret")}


class Peer:
    """`keys`, for tcp: the files of the daemon's public key and of the peer's secret one."""

    def __init__(self, url, keys=None):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        if keys:
            server, own = key_of(keys[0]), key_of(keys[1])
            self.socket.curve_serverkey = server["public"]
            self.socket.curve_publickey, self.socket.curve_secretkey = own["public"], own["secret"]
        self.socket.connect(url)
        self.numbers = itertools.count(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send_raw(self, frame):
        self.socket.send(frame)

    def send(self, kind, body=None, number=0):
        self.send_raw(pack(kind, body, number))

    def receive(self, timeout=60.0):
        if not self.socket.poll(int(timeout * 1000)):
            raise Silence(f"no message within {timeout} s")
        return Message(self.socket.recv())

    def request(self, kind, body=None, timeout=60.0):
        """The body of the reply; Refusal for an error. Answers to earlier requests are dropped."""
        number = next(self.numbers)
        self.send(kind, body, number)
        deadline = time.monotonic() + timeout
        while True:
            reply = self.receive(max(0.0, deadline - time.monotonic()))
            unreadable = reply.kind == "error" and reply.id == 0
            if reply.id != number and not unreadable:
                continue
            if reply.kind == "error":
                raise Refusal(reply.body["code"], reply.body["message"])
            return reply.body

    def submit(self, *jobs, timeout=60.0):
        return self.request("submit", {"jobs": list(jobs)}, timeout)["ids"]

    def job(self, job):
        return self.request("job", {"id": job})

    def result(self, job):
        return self.request("result", {"id": job})

    def wait(self, *jobs, timeout=120.0):
        """The jobs' infos once all have ended; fails loudly where they have not."""
        body = {"ids": list(jobs), "timeout_ms": int(timeout * 1000)}
        reply = self.request("wait", body, timeout + 60)
        if not reply["done"]:
            raise Silence(f"not ended within {timeout} s: {reply['jobs']}")
        return reply["jobs"]


def generate(prompt="Once upon a time", max_tokens=8, **others):
    """A job of the cheapest kind, as it lies in a submit."""
    return {"task": "generate", "prompt": prompt, "options": {"max_tokens": max_tokens}, **others}
