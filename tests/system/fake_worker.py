"""A worker that does what a test says: the tool for faults that a sound worker never commits. It speaks the worker's
side of docs/protocol.md and runs no model."""

import os
import secrets
import socket
import time

import wire

LAYERS = 4


class FakeWorker(wire.Peer):
    """Does nothing by itself: each step of the protocol is a call."""

    def __init__(self, url, capacity=1, name=None, leases=(), keys=None, room=None, plans=()):
        super().__init__(url, keys)
        self.name = name or f"{socket.gethostname()}:{os.getpid()}:fake"
        self.instance = secrets.token_hex(8)
        self.capacity = capacity
        self.leases = list(leases)
        self.plan = 0
        self.room = room  # None: it does not tell what it has begun
        self.plans = list(plans)  # plan offers

    def hello(self):
        """Introduces itself; returns the welcome's body."""
        self.introduce()
        return self.expect("welcome").body

    def introduce(self):
        layers = [{"layer": layer, "order": layer, "state": self.layer_state(layer), "distilled": False}
                  for layer in range(LAYERS)]
        self.send("hello", {
            "name": self.name, "instance": self.instance, "device": "fake", "model": "fake", "model_digest": "f" * 64,
            "dtype": "f32", "layers": LAYERS, "context": 4096, "capacity": self.capacity, "plan": self.plan,
            "layer_info": layers, "leases": self.leases, "room": self.room,
            "plans": self.plans,
        })

    def layer_state(self, layer):
        return "active" if layer < self.plan else "transformer"

    def expect(self, kind, timeout=60.0):
        """The next message of this kind; others on the way are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.receive(max(0.0, deadline - time.monotonic()))
            if message.kind == kind:
                return message

    def take_job(self, timeout=60.0):
        return self.expect("assign", timeout).body

    def begin(self, *assigned):
        self.send("room", {"begun": [lease_of(job) for job in assigned], "room": self.room})

    def heartbeat(self, *assigned, **progress):
        leases = [{**lease_of(job), **progress} for job in assigned]
        self.send("heartbeat", {"leases": leases, "engine": {}})

    def send_result(self, assigned, text="done", plan=None, **changes):
        questions = assigned.get("questions") or [None]
        outputs = [{"text": text, "finish_reason": "stop", "output_tokens": 1, **({"question": q} if q else {})}
                   for q in questions]
        metrics = {"prefill_ms": 1.0, "decode_ms": 2.0, "prompt_tokens": 3, "output_tokens": len(outputs),
                   "plan": self.plan if plan is None else plan}
        self.send("result", {**lease_of(assigned), "outputs": outputs, "metrics": metrics, **changes})

    def send_error(self, assigned, code, message):
        self.send("result", {**lease_of(assigned), "error": {"code": code, "message": message}})

    def finish(self, assigned, **changes):
        """Sends the result; returns whether the daemon took it."""
        self.send_result(assigned, **changes)
        return self.expect("result_ack").body["accepted"]


def lease_of(assigned):
    return {"job": assigned["job"], "attempt": assigned["attempt"]}
