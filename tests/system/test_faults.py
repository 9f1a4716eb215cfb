"""Input that nobody should send, to the daemon's sockets and command line: each gets a clear error, and the daemon goes
on: a ping is answered and a job still completes."""

import os
import random
import shutil
import subprocess
import unittest

import msgpack
import wire
from fake_worker import FakeWorker
from harness import BIN, PATIENCE, SystemTest
from wire import generate

DEPTH_BOMB = b"\x81\xa4body" + b"\x91" * 100_000 + b"\xc0"
LENGTH_BOMB = b"\x81\xa4body\xdd\xff\xff\xff\xff"  # an array that claims 2^32 - 1 elements
VALID = wire.pack("ping", {}, 1)
GARBAGE = [
    b"",
    b"\x00",
    b"\xc1",  # never used by msgpack
    b"hello, is this the queue?\r\n",
    b"\xff" * 1000,
    os.urandom(4096),
    VALID[:-1],
    VALID + b"\x00",
    msgpack.packb([1, 2, 3]),
    msgpack.packb({1: 2}),
    msgpack.packb({"version": 1}),
    msgpack.packb({"version": "one", "kind": "ping", "id": 1, "body": {}}),
    msgpack.packb({"version": 1, "kind": "ping", "id": -1, "body": {}}),
    msgpack.packb({"version": 1, "kind": "ping", "id": 1, "body": "none"}),
    msgpack.packb({"version": 1, "kind": "k" * 5000, "id": 1, "body": {}}),
    b"\x82\xa4kind\xa4ping\xa4kind\xa4ping",  # a key twice
    DEPTH_BOMB,
    LENGTH_BOMB,
]


class Alive(SystemTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon()

    def assert_sound(self):
        """A ping is answered, and a job that is submitted now is done."""
        self.assertTrue(self.daemon.alive())
        with self.peer() as client, FakeWorker(self.workers_url, name="sound") as worker:
            client.request("ping")
            [job] = client.submit(generate(priority=1000))
            worker.hello()
            self.assertTrue(worker.finish(worker.take_job()))
            self.assertEqual("succeeded", client.wait(job)[0]["state"])
            worker.send("goodbye")

    def refused(self, code, kind, body=None, says=()):
        with self.peer() as client, self.assertRaises(wire.Refusal) as refusal:
            client.request(kind, body)
        self.assertEqual(code, refusal.exception.code, refusal.exception)
        for text in says:
            self.assertIn(text, refusal.exception.message)


class ClientFrames(Alive):
    def test_garbage_is_answered_with_an_error_or_dropped(self):
        for frame in GARBAGE:
            with self.subTest(frame=frame[:40]), self.peer() as client:
                client.send_raw(frame)
                client.send("ping", number=9)
                while (reply := client.receive()).id != 9:
                    self.assertEqual("error", reply.kind)
        self.assert_sound()

    def test_requests_with_bits_flipped_never_harm(self):
        dice = random.Random(7)
        seed = wire.pack("submit", {"jobs": [generate(), {"task": "qa", "document": "d", "questions": ["q"]}]}, 3)
        with self.peer() as client:
            for _ in range(2000):
                frame = bytearray(seed)
                for _ in range(dice.randint(1, 4)):
                    frame[dice.randrange(len(frame))] ^= 1 << dice.randrange(8)
                client.send_raw(bytes(frame))
            client.send("ping", number=2**63)
            while client.receive().id != 2**63:
                pass
        self.assert_sound()

    def test_another_version_is_named(self):
        with self.peer() as client:
            client.send_raw(wire.pack("ping", {}, 5, version=99))
            reply = client.receive()
        self.assertEqual(("error", 5), (reply.kind, reply.id))
        self.assertIn("99", reply.body["message"])
        self.assert_sound()

    def test_an_unknown_kind_is_named(self):
        self.refused(wire.INVALID_ARGUMENT, "frobnicate", says=["frobnicate"])
        self.assert_sound()

    def test_unknown_keys_are_ignored(self):
        with self.peer() as client:
            client.request("ping", {"from the future": [1, {"x": None}]})
            client.submit({**generate(), "colour": "green"})

    def test_frames_above_the_bound_are_not_taken(self):
        with self.peer() as client:
            client.send("submit", {"jobs": [generate("x" * (17 << 20))]})
            client.send("ping", number=8)
            with self.peer() as other:
                other.request("ping")
        self.assert_sound()

    def test_messages_of_several_frames_are_not_taken(self):
        with self.peer() as client:
            client.socket.send_multipart([VALID, VALID, b"", VALID])
            client.send("ping", number=8)
            while client.receive().id != 8:
                pass
        self.assert_sound()

    def test_bad_values_are_named(self):
        job = {"id": 4711}
        self.refused(wire.NOT_FOUND, "job", job, says=["4711"])
        self.refused(wire.NOT_FOUND, "result", job, says=["4711"])
        self.refused(wire.NOT_FOUND, "wait", {"ids": [4711], "timeout_ms": 10}, says=["4711"])
        for bad in (
            {"task": "translate", "prompt": "x"},
            {"task": "summarize", "document": ""},
            {"task": "generate", "document": "a document, not a prompt"},
            {"task": "qa", "document": "d", "questions": []},
            generate(priority=2**40),
            generate(max_tokens=-1),
            generate(max_tokens=1.5),
            generate(max_attempts=10**6),
            generate(custom_id="x" * 5000),
            generate(b"bytes, not text"),
            generate(["a", "list"]),
        ):
            with self.subTest(bad=str(bad)[:60]):
                self.refused(wire.INVALID_ARGUMENT, "submit", {"jobs": [bad]})
        self.refused(wire.INVALID_ARGUMENT, "submit", {"jobs": []})
        self.assert_sound()

    def test_text_that_is_no_utf8_is_refused(self):
        frame = wire.pack("submit", {"jobs": [generate("Caf#")]}, 3).replace(b"Caf#", b"Caf\xe9")
        with self.peer() as client:
            client.send_raw(frame)
            reply = client.receive()
        self.assertEqual(("error", wire.INVALID_ARGUMENT), (reply.kind, reply.body["code"]))
        self.assertIn("UTF-8", reply.body["message"])
        self.assert_sound()


class WorkerFrames(Alive):
    def test_garbage_from_a_worker_harms_no_other(self):
        with self.peer() as client:
            [job] = client.submit(generate())
        with FakeWorker(self.workers_url) as worker:
            worker.hello()
            assigned = worker.take_job()
            with wire.Peer(self.workers_url) as rogue:
                for frame in GARBAGE:
                    rogue.send_raw(frame)
                rogue.send("assign", {"job": job, "attempt": 1})
                rogue.send("result", {"job": job, "attempt": 1, "outputs": []})
                rogue.send("heartbeat", {"leases": [{"job": -1, "attempt": 2}]})
                rogue.send("hello", {"name": ""})
                rogue.send("plan_result", {"request": 12345, "plan": 3})
            self.assertTrue(worker.finish(assigned, text="mine"))
        with self.peer() as client:
            self.assertEqual("mine", client.result(job)["outputs"][0]["text"])
        self.assert_sound()


class CommandLine(SystemTest):
    def dslad(self, *arguments):
        return subprocess.run([str(BIN / "dslad"), *map(str, arguments)], capture_output=True, encoding="utf-8",
                              timeout=PATIENCE)

    def config(self, text):
        path = self.folder / "dslad.toml"
        path.write_text(text)
        return path

    def refused(self, *arguments, says):
        done = self.dslad(*arguments)
        self.assertNotEqual(0, done.returncode, done.stdout)
        self.assertGreater(done.returncode, 0, "ended by a signal")
        for text in says:
            self.assertIn(text, done.stderr)

    def test_check_config_accepts_a_sound_file_and_starts_nothing(self):
        done = self.dslad("--config", self.config(""), "--state-dir", self.state_dir, "--check-config")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertFalse(self.state_dir.exists())

    def test_an_unknown_key_is_refused_with_the_nearest_one(self):
        self.refused("--config", self.config("[workers]\nlease_mss = 1000\n"), "--check-config",
                     says=["dslad.toml", "lease_mss", "workers.lease_ms"])
        self.refused("--set", "workers.heartbeet_ms=1", "--check-config",
                     says=["workers.heartbeet_ms", "workers.heartbeat_ms"])

    def test_bad_toml_is_named_with_its_line(self):
        self.refused("--config", self.config("a = 1\nb = = 2\n"), "--check-config", says=["dslad.toml", "2"])
        self.refused("--config", self.config("x = 'ends nowhere"), "--check-config", says=["dslad.toml"])
        self.refused("--config", self.folder / "absent.toml", "--check-config", says=["absent.toml"])

    def test_a_value_of_the_wrong_kind_or_range_is_named(self):
        self.refused("--config", self.config("workers.lease_ms = 'soon'\n"), "--check-config", says=["lease_ms"])
        self.refused("--set", "workers.lease_ms=-1", "--check-config", says=["lease_ms"])
        self.refused("--set", "workers.lease_ms", "--check-config", says=["lease_ms"])

    def as_nobody(self, *arguments):
        """dslad as a user who may look nowhere, with an /etc whose dslad.toml lies in a folder closed to all but root."""
        closed = self.folder / "etc/dslad"
        closed.mkdir(parents=True)
        (closed / "dslad.toml").touch()
        closed.chmod(0o700)
        self.folder.chmod(0o755)
        program = shutil.copy(BIN / "dslad", self.folder)
        mounted = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', str(self.folder / "etc")]
        if os.geteuid() != 0 or subprocess.run([*mounted, "true"], capture_output=True).returncode != 0:
            self.skipTest("another /etc needs root and CAP_SYS_ADMIN")
        return subprocess.run([*mounted, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, *arguments],
                              capture_output=True, text=True, timeout=PATIENCE, env=self.environment_of_another_user())

    def test_a_configuration_that_is_closed_to_the_user_is_not_his(self):
        done = self.as_nobody("--check-config")
        self.assertEqual((0, "ok\n", ""), (done.returncode, done.stdout, done.stderr))

    def test_a_configuration_that_is_closed_to_the_user_is_named_where_he_asks_for_it(self):
        done = self.as_nobody("--config", "/etc/dslad/dslad.toml", "--check-config")
        self.assertEqual((2, ""), (done.returncode, done.stdout))
        self.assertRegex(done.stderr, r"\Adslad: /etc/dslad/dslad.toml: cannot be read\n\Z")

    def test_a_second_daemon_on_one_state_folder_is_refused_and_the_first_goes_on(self):
        self.start_daemon()
        other = [f"ipc://{self.folder}/{name}2.sock" for name in ("jobs", "workers", "events")]
        self.refused("--state-dir", self.state_dir, "--jobs", other[0], "--workers", other[1], "--events", other[2],
                     says=[str(self.state_dir)])
        with self.peer() as client:
            client.request("ping")
            client.submit(generate())

    def test_a_second_daemon_on_one_socket_is_refused_and_the_first_goes_on(self):
        self.start_daemon()
        self.refused("--state-dir", self.folder / "other", "--jobs", self.jobs_url, "--workers", self.workers_url,
                     "--events", self.events_url, says=[self.jobs_url])
        with self.peer() as client:
            client.request("ping")

    def test_a_database_that_is_none_is_refused(self):
        self.state_dir.mkdir()
        (self.state_dir / "dslad.db").write_bytes(b"This was once a database." * 1000)
        self.refused("--state-dir", self.state_dir, "--jobs", self.jobs_url, "--workers", self.workers_url, "--events",
                     self.events_url, says=["dslad.db"])

    def test_a_state_folder_that_cannot_be_made_is_named(self):
        self.refused("--state-dir", "/proc/none/state", "--jobs", self.jobs_url, "--workers", self.workers_url,
                     "--events", self.events_url, says=["/proc/none/state"])


if __name__ == "__main__":
    unittest.main()
