"""What the tests of keys and roles start from: a daemon on tcp, and the keys of those who may use it."""

import contextlib
import shutil

import wire
from fake_worker import FakeWorker
from harness import SystemTest, free_port, until


class KeysTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.jobs_url, self.workers_url, self.events_url = (f"tcp://127.0.0.1:{free_port()}" for _ in range(3))
        self.authorised = self.folder / "authorised"
        self.daemon_options = ("--set", f"keys.secret={self.folder}/server", "--set", f"keys.authorised={self.authorised}")
        self.make_key("server")

    def make_key(self, name):
        self.ctl_ok("keygen", self.folder / name)
        return self.folder / name

    def authorise(self, name, role):
        """Makes the key where there is none yet."""
        key = self.folder / name
        if not key.exists():
            self.make_key(name)
        (self.authorised / role).mkdir(parents=True, exist_ok=True)
        shutil.copy(f"{key}.pub", self.authorised / role / f"{name}.pub")
        return key

    def keys(self, name, server="server"):
        return self.folder / f"{server}.pub", self.folder / name

    def options(self, name, server="server"):
        """Of dslactl and dslad-worker."""
        return "--server-key", self.folder / f"{server}.pub", "--key", self.folder / name

    def peer(self, name="ada", url=None):
        return wire.Peer(url or self.jobs_url, self.keys(name))

    def connected(self, name):
        peer = self.peer(name)
        self.addCleanup(peer.close)
        return peer

    def worker(self, name="wanda"):
        worker = FakeWorker(self.workers_url, keys=self.keys(name))
        self.addCleanup(worker.close)
        worker.hello()
        return worker

    def start_everything(self):
        """A daemon that knows ada (admin), sue and sam (submit), rita (read) and the worker wanda."""
        self.authorise_everybody()
        return self.start_daemon()

    def authorise_everybody(self):
        for name, role in (("ada", "admin"), ("sue", "submit"), ("sam", "submit"), ("rita", "read"),
                           ("wanda", "workers")):
            self.authorise(name, role)

    def refusal(self, peer, kind, body=None):
        """The error that the request is answered with."""
        with self.assertRaises(wire.Refusal) as caught:
            peer.request(kind, body)
        return caught.exception

    def await_service(self, name):
        def served():
            with contextlib.suppress(wire.Silence), self.peer(name) as peer:
                return peer.request("ping", timeout=0.5)

        until(served, f"{name} is served")
