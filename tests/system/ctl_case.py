"""dslactl before a daemon that answers what the test says: the ways to check what it prints and what it sends."""

import json
import re
import threading

import wire
import zmq
from harness import SystemTest

USAGE, UNREACHABLE, REFUSED = 2, 3, 4  # exit statuses


class FakeDaemon:
    """Answers each request by its kind and keeps what was asked."""

    def __init__(self, url):
        self.answers = {}  # by kind of request: (kind of reply, body), or what gives that of the request's body
        self.requests = []
        self.router = zmq.Context.instance().socket(zmq.ROUTER)
        self.router.bind(url)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while not self.stopping.is_set():
            if not self.router.poll(20):
                continue
            peer, frame = self.router.recv_multipart()
            request = wire.Message(frame)
            self.requests.append(request)
            refusal = ("error", {"code": wire.INVALID_ARGUMENT, "message": f"there is no request '{request.kind}'"})
            answer = self.answers.get(request.kind, refusal)
            kind, body = answer(request.body) if callable(answer) else answer
            self.router.send_multipart([peer, wire.pack(kind, body, request.id)])

    def close(self):
        self.stopping.set()
        self.thread.join()
        self.router.close(0)

    def refuse(self, request, code, message):
        self.answers[request] = ("error", {"code": code, "message": message})

    def last(self, kind):
        """The body of the latest request, which must be of this kind."""
        assert self.requests and self.requests[-1].kind == kind, self.requests
        return self.requests[-1].body


class PolicyTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.daemon = FakeDaemon(self.jobs_url)
        self.addCleanup(self.daemon.close)

    def refused(self, status, *arguments, says, **others):
        """Checks the exit status, and that standard error, in one line, names each of `says`."""
        done = self.ctl(*arguments, **others)
        self.assertEqual(status, done.returncode, done.stderr)
        self.assertEqual("", done.stdout)
        self.assertEqual(1, done.stderr.count("\n"), done.stderr)
        for text in says:
            self.assertIn(text, done.stderr)

    def says(self, *arguments, lines=(), **others):
        """The output, which must have lines that match each of `lines`, in that order."""
        out = self.ctl_ok(*arguments, **others)
        rest = out.splitlines()
        for pattern in lines:
            while rest and not re.fullmatch(pattern, rest[0]):
                rest.pop(0)
            self.assertTrue(rest, f"no line is {pattern!r} in {out}")
            rest.pop(0)
        return out

    def json_of(self, *arguments):
        out = self.ctl_ok(*arguments, "--json")
        self.assertEqual(1, out.count("\n"), out)
        return json.loads(out)
