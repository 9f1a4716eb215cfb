"""Drives the built dslad over its real sockets, with clients and workers played by the test.

Usage: process_test.py PATH_TO_DSLAD [unittest arguments]. Polls with deadlines; never sleeps to synchronise.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

import msgpack
import zmq

DSLAD = None
DEADLINE_S = 30


class RemoteError(Exception):
    def __init__(self, body):
        super().__init__(body["message"])
        self.code = body["code"]


class Peer:
    """A DEALER that speaks envelopes."""

    def __init__(self, url):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.sndhwm = self.socket.rcvhwm = 0  # tests send ahead
        self.socket.connect(url)
        self.last_id = 0

    def close(self):
        self.socket.close()

    def send(self, kind, **body):
        self.last_id += 1
        self.socket.send(msgpack.packb({"version": 1, "kind": kind, "id": self.last_id, "body": body}))
        return self.last_id

    def receive(self, kind=None):
        """The next message, or the next of this kind; others are dropped."""
        end = time.monotonic() + DEADLINE_S
        while self.socket.poll(max(0, int(1000 * (end - time.monotonic())))):
            message = msgpack.unpackb(self.socket.recv())
            if kind is None or message["kind"] == kind:
                return message
        raise AssertionError(f"no message of kind {kind} within {DEADLINE_S} s")

    def ask(self, kind, **body):
        """Sends a request and gives its reply's body."""
        request_id = self.send(kind, **body)
        while True:
            reply = self.receive()
            if reply["id"] != request_id:
                continue
            if reply["kind"] == "error":
                raise RemoteError(reply["body"])
            return reply["body"]


class Daemon:
    def __init__(self, folder, *arguments):
        self.folder = folder
        self.jobs = f"ipc://{folder}/jobs"
        self.workers = f"ipc://{folder}/workers"
        self.events = f"ipc://{folder}/events"
        self.log = open(os.path.join(folder, "log"), "ab")
        command = [DSLAD, "--state-dir", f"{folder}/state", "--jobs", self.jobs, "--workers", self.workers,
                   "--events", self.events, *arguments]
        self.process = subprocess.Popen(command, stderr=self.log)
        self.peers = []
        self.client = self.peer(self.jobs)

    def peer(self, url):
        """A Peer that is closed with the daemon."""
        self.peers.append(Peer(url))
        return self.peers[-1]

    def ready(self):
        self.client.ask("ping")
        return self

    def worker(self, name="w", instance="i", leases=(), capacity=2):
        worker = self.peer(self.workers)
        worker.send("hello", name=name, instance=instance, model="tiny", model_digest="d", capacity=capacity,
                    layers=2, leases=list(leases))
        worker.receive("welcome")
        return worker

    def end(self, with_signal):
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        code = self.process.wait(DEADLINE_S)
        for peer in self.peers:
            peer.close()
        self.log.close()
        return code


JOB = {"task": "summarize", "document": "It rained for forty days."}


def result_of(assign, text):
    return {"job": assign["job"], "attempt": assign["attempt"],
            "outputs": [{"text": text, "finish_reason": "stop", "output_tokens": 1}]}


class ProcessTest(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="dslad-")
        self.folder = self.temporary.name
        self.daemons = []

    def tearDown(self):
        for daemon in self.daemons:
            daemon.end(signal.SIGKILL)
        self.temporary.cleanup()

    def start(self, *arguments):
        daemon = Daemon(self.folder, *arguments)
        self.daemons.append(daemon)
        return daemon.ready()

    def database(self, sql):
        connection = sqlite3.connect(f"{self.folder}/state/dslad.db", timeout=DEADLINE_S)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def test_job_goes_from_client_to_worker_and_back(self):
        daemon = self.start()
        worker = daemon.worker()
        job = daemon.client.ask("submit", jobs=[dict(JOB, task="qa", questions=["How long?"])])["ids"][0]
        assign = worker.receive("assign")["body"]
        self.assertEqual((assign["job"], assign["attempt"], assign["task"]), (job, 1, "qa"))
        self.assertEqual(assign["questions"], ["How long?"])
        waiting = daemon.client.send("wait", ids=[job], timeout_ms=60000)
        worker.send("result", **result_of(assign, "Forty days."))
        self.assertTrue(worker.receive("result_ack")["body"]["accepted"])
        waited = daemon.client.receive("waited")
        self.assertEqual(waited["id"], waiting)
        self.assertTrue(waited["body"]["done"])
        result = daemon.client.ask("result", id=job)
        self.assertEqual(result["outputs"][0]["text"], "Forty days.")
        self.assertEqual(self.database("SELECT state, worker FROM job_status"), [("succeeded", "w")])

    def test_waiting_client_does_not_hold_up_others(self):
        daemon = self.start()
        job = daemon.client.ask("submit", jobs=[JOB])["ids"][0]
        daemon.client.send("wait", ids=[job], timeout_ms=60000)
        other = daemon.peer(daemon.jobs)
        self.assertEqual(other.ask("job", id=job)["state"], "queued")

    def test_acknowledged_jobs_survive_kill_9(self):
        daemon = self.start()
        ids = [daemon.client.ask("submit", jobs=[JOB])["ids"][0] for _ in range(20)]
        daemon.end(signal.SIGKILL)
        daemon = self.start()
        listed = daemon.client.ask("list", limit=100)["jobs"]
        self.assertEqual(sorted(job["id"] for job in listed), ids)

    def test_worker_that_comes_back_after_a_restart_keeps_its_job(self):
        daemon = self.start()
        worker = daemon.worker()
        job = daemon.client.ask("submit", jobs=[JOB])["ids"][0]
        assign = worker.receive("assign")["body"]
        daemon.end(signal.SIGKILL)
        daemon = self.start()
        worker = daemon.worker(leases=[{"job": job, "attempt": 1}])
        worker.send("result", **result_of(assign, "It rained."))
        self.assertTrue(worker.receive("result_ack")["body"]["accepted"])
        self.assertEqual(daemon.client.ask("job", id=job)["attempt"], 1)

    def test_job_of_a_worker_that_vanished_runs_elsewhere(self):
        daemon = self.start("--set", "workers.lease_ms=300", "--set", "workers.heartbeat_ms=100")
        lost = daemon.worker("lost", "a")
        job = daemon.client.ask("submit", jobs=[JOB])["ids"][0]
        lost.receive("assign")
        lost.close()
        # The other keeps beating until the lease of the first has ended and the job comes to it.
        other = daemon.worker("other", "b")
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            other.send("heartbeat", leases=[])
            if other.socket.poll(100):
                message = msgpack.unpackb(other.socket.recv())
                if message["kind"] == "assign":
                    break
        self.assertEqual((message["body"]["job"], message["body"]["attempt"]), (job, 2))

    def test_stop_is_clean_and_loses_nothing(self):
        daemon = self.start()
        job = daemon.client.ask("submit", jobs=[JOB])["ids"][0]
        waiting = Peer(daemon.jobs)
        waiting.send("wait", ids=[job], timeout_ms=60000)
        waiting.ask("ping")
        self.assertEqual(daemon.end(signal.SIGTERM), 0)
        self.assertEqual(waiting.receive("error")["body"]["code"], 5)
        waiting.close()
        self.assertEqual(self.database("SELECT id, state FROM job_status"), [(job, "queued")])
        self.start()

    def test_second_daemon_on_one_state_folder_is_refused(self):
        daemon = self.start()
        second = subprocess.run(
            [DSLAD, "--state-dir", f"{self.folder}/state", "--jobs", f"ipc://{self.folder}/other"],
            capture_output=True, text=True, timeout=DEADLINE_S)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn(str(daemon.process.pid), second.stderr)
        daemon.client.ask("ping")

    def test_second_daemon_on_one_socket_is_refused(self):
        daemon = self.start()
        second = subprocess.run(
            [DSLAD, "--state-dir", f"{self.folder}/elsewhere", "--jobs", daemon.jobs],
            capture_output=True, text=True, timeout=DEADLINE_S)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("listens on", second.stderr)
        daemon.client.ask("ping")

    def test_malformed_messages_are_answered_and_the_daemon_lives(self):
        daemon = self.start()
        for url in (daemon.jobs, daemon.workers):
            peer = daemon.peer(url)
            for frame in (b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x91" * 100000, msgpack.packb([1, 2]),
                          msgpack.packb({"version": 1, "kind": "submit", "id": 1, "body": {"jobs": 5}}),
                          msgpack.packb({"version": 9, "kind": "hello", "id": 1, "body": {}})):
                peer.socket.send(frame)
                self.assertEqual(peer.receive("error")["kind"], "error")
            peer.socket.send_multipart([b"a", b"b", b"c", b"d"])
            peer.receive("error")
        with self.assertRaises(RemoteError) as raised:
            daemon.client.ask("submit", jobs=[{"task": "summarize", "document": ""}])
        self.assertEqual(raised.exception.code, 1)
        with self.assertRaises(RemoteError) as raised:
            daemon.client.ask("result", id=12345)
        self.assertEqual(raised.exception.code, 2)

    def test_client_that_leaves_before_its_reply_does_no_harm(self):
        daemon = self.start()
        for _ in range(50):
            leaver = Peer(daemon.jobs)
            leaver.send("submit", jobs=[JOB])
            leaver.close()
        daemon.client.ask("ping")

    def test_req_sockets_are_served_too(self):
        daemon = self.start()
        with zmq.Context.instance().socket(zmq.REQ) as req:
            req.linger = 0
            req.connect(daemon.jobs)
            req.send(msgpack.packb({"version": 1, "kind": "ping", "id": 3, "body": {}}))
            self.assertTrue(req.poll(1000 * DEADLINE_S))
            self.assertEqual(msgpack.unpackb(req.recv())["kind"], "pong")

    def test_many_requests_may_be_sent_without_waiting(self):
        daemon = self.start()
        asked = {daemon.client.send("submit", jobs=[JOB]) for _ in range(2000)}
        answered = {daemon.client.receive("submitted")["id"] for _ in range(2000)}
        self.assertEqual(answered, asked)

    def test_events_tell_a_jobs_way(self):
        daemon = self.start()
        watcher = zmq.Context.instance().socket(zmq.SUB)
        watcher.linger = 0
        watcher.connect(daemon.events)
        watcher.subscribe(b"job.")
        # A subscription takes its time to arrive: submit until the first event is seen.
        first = daemon.client.ask("submit", jobs=[JOB])["ids"][0]
        while not watcher.poll(100):
            first = daemon.client.ask("submit", jobs=[JOB])["ids"][0]
        topic, frame = watcher.recv_multipart()
        event = msgpack.unpackb(frame)
        self.assertEqual((topic, event["kind"]), (b"job.state", "event"))
        daemon.worker()
        seen = set()
        end = time.monotonic() + DEADLINE_S
        while "running" not in seen and watcher.poll(max(0, int(1000 * (end - time.monotonic())))):
            body = msgpack.unpackb(watcher.recv_multipart()[1])["body"]
            seen.add(body.get("state"))
        self.assertIn("running", seen)
        self.assertGreaterEqual(first, 1)
        watcher.close()

    def test_plan_is_set_by_the_worker_and_recorded(self):
        daemon = self.start()
        worker = daemon.worker()
        asked = daemon.client.send("plan_set", plan=1, allow_undistilled=True, reason="a test")
        change = worker.receive("set_plan")["body"]
        self.assertEqual((change["plan"], change["allow_undistilled"]), (1, True))
        worker.send("plan_result", request=change["request"], plan=1,
                    changes=[{"layer": 0, "from": "transformer", "to": "active"}],
                    layer_info=[{"layer": 0, "order": 0, "state": "active"}])
        self.assertEqual(daemon.client.receive("plan_reply")["id"], asked)
        self.assertEqual(self.database("SELECT layer, to_state, reason FROM conversion_events"),
                         [(0, "active", "a test")])
        self.assertEqual(self.database("SELECT layer, state, plan FROM layer_status"), [(0, "active", 1)])

    def test_check_config_says_ok_or_where_it_is_wrong(self):
        config = f"{self.folder}/dslad.toml"
        with open(config, "w", encoding="utf-8") as file:
            file.write("[workers]\nlease_ms = 5000\n")
        good = subprocess.run([DSLAD, "--config", config, "--check-config"], capture_output=True, text=True,
                              timeout=DEADLINE_S)
        self.assertEqual((good.returncode, good.stdout), (0, "ok\n"))
        with open(config, "a", encoding="utf-8") as file:
            file.write("leese_ms = 1\n")
        bad = subprocess.run([DSLAD, "--config", config, "--check-config"], capture_output=True, text=True,
                             timeout=DEADLINE_S)
        self.assertEqual(bad.returncode, 2)
        self.assertIn(f"{config}:3: unknown key 'workers.leese_ms'", bad.stderr)
        self.assertIn("did you mean 'workers.lease_ms'?", bad.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    DSLAD = sys.argv.pop(1)
    unittest.main()
