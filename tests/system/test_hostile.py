"""Clients and workers that do their worst, and one that is served all the same."""

import contextlib
import itertools
import resource
import socket
import struct
import time
import unittest

import msgpack
import wire
import zmq
from fake_worker import FakeWorker
from harness import BIN, SANITIZED, SystemTest, leases_of, resident_bytes, until
from queue_case import QueueTest
from wire import generate

MIB = 1 << 20
ASKED = 60 if SANITIZED else 300  # results of 8 MiB at once: three times what may be taken for them, and more


class Connections(SystemTest):
    def start_with_files(self, files):
        limits = f"ulimit -n {files} && exec"
        daemon = self.start(
            "dslad", "/bin/bash", "-c", limits + ' "$@"', "bash", BIN / "dslad", "--state-dir", self.state_dir, "--jobs",
            self.jobs_url, "--workers", self.workers_url, "--events", self.events_url,
        )
        self.await_daemon(daemon)
        return daemon

    def connect_raw(self, held):
        held.append(socket.socket(socket.AF_UNIX))
        # Waits, where a socket with Python's timeout would give up at once, until the daemon has taken those before it.
        held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 30, 0))
        with contextlib.suppress(OSError):
            held[-1].connect(f"{self.folder}/jobs.sock")

    def test_more_connections_than_descriptors_leave_it_running_and_workers_are_let_in(self):
        daemon = self.start_with_files(256)
        held = []
        for _ in range(600):
            self.connect_raw(held)
        until(lambda: "connections_refused" in self.stats_over(held), "the surplus is turned away")
        self.assertTrue(daemon.alive())
        worker = FakeWorker(self.workers_url)
        self.addCleanup(worker.close)
        worker.hello()  # clients have not taken its place
        for one in held:
            one.close()
        with self.peer() as client:
            job = client.submit(generate())[0]
            worker.finish(worker.take_job())
            self.assertEqual("succeeded", client.wait(job)[0]["state"])
            self.assertGreater(client.request("stats")["counters"]["connections_refused"], 0)

    def test_the_smallest_number_of_connections_is_one_that_works(self):
        self.start_daemon("--set", "listen.max_connections=8")
        worker = FakeWorker(self.workers_url)
        self.addCleanup(worker.close)
        worker.hello()
        with self.peer() as client:
            client.submit(generate())
            self.assertTrue(worker.finish(worker.take_job()))

    def stats_over(self, held):
        """The daemon's counters, asked for once some of the connections have gone."""
        for one in held[:100]:
            one.close()
        with contextlib.suppress(wire.Silence), self.peer() as client:
            counters = client.request("stats", timeout=2.0)["counters"]
            return counters if counters["connections_refused"] > 0 else {}
        return {}

    def test_the_soft_limit_of_open_files_is_raised(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 2048:
            self.skipTest("the hard limit of open files is too low")
        daemon = self.start_daemon()
        with open(f"/proc/{daemon.child.pid}/limits", encoding="ascii") as limits:
            line = next(line for line in limits if line.startswith("Max open files"))
        self.assertEqual([str(hard)] * 2, line.split()[3:5])


class Sockets(SystemTest):
    def test_a_url_that_names_a_file_is_refused_and_the_file_kept(self):
        first = self.start_daemon()
        with self.peer() as client:
            client.submit(generate())
        first.finish()
        database = self.state_dir / "dslad.db"
        jobs = self.jobs_url
        self.jobs_url = f"ipc://{database}"
        second = self.start_daemon(ready=False)
        self.assertEqual(4, second.wait())
        second.expected_exit.add(4)
        self.assertIn("is no socket", second.text())
        self.assertTrue(database.read_bytes().startswith(b"SQLite format 3"))
        self.jobs_url = jobs
        self.start_daemon()
        self.assertEqual(1, self.status()["jobs"]["queued"])


class Waits(QueueTest):
    def test_waits_end_with_their_clients(self):
        job = self.client.submit(generate())[0]
        for _ in range(6):
            with self.peer() as gone:
                for number in range(4000):
                    gone.send("wait", {"ids": [job], "timeout_ms": 86_400_000}, number)
                until(lambda: self.counters()["waits_open"] > 0, "the waits are open")
        until(lambda: self.counters()["waits_open"] == 0, "the waits end with their clients")
        reply = self.client.request("wait", {"ids": [job], "timeout_ms": 1})
        self.assertFalse(reply["done"])

    def counters(self):
        return self.client.request("stats")["counters"]


class Memory(QueueTest):
    allowed = 10_000 * MIB if SANITIZED else 160 * MIB

    def test_results_that_are_asked_for_all_at_once_take_little_memory(self):
        job = self.client.submit(generate())[0]
        worker = self.worker()
        worker.finish(worker.take_job(), text="x" * (8 * MIB))
        before = resident_bytes(self.daemon)
        most = 0
        with self.peer() as greedy:
            greedy.socket.setsockopt(zmq.RCVHWM, 4)
            for number in range(ASKED):
                greedy.send("result", {"id": job}, number)
            for _ in range(20):  # it reads nothing, and others are served
                self.client.request("job", {"id": job})
                most = max(most, resident_bytes(self.daemon))
                time.sleep(0.05)
            self.assertLess(most - before, self.allowed)
            for _ in range(ASKED):  # and gets every one when it reads
                self.assertEqual("job_result", greedy.receive().kind)
                most = max(most, resident_bytes(self.daemon))
        self.assertLess(most - before, self.allowed)

    def test_a_client_that_never_reads_takes_nobody_elses_place(self):
        job = self.client.submit(generate())[0]
        worker = self.worker()
        worker.finish(worker.take_job(), text="x" * (8 * MIB))
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                deaf = stack.enter_context(self.peer())
                deaf.socket.setsockopt(zmq.RCVHWM, 1)
                for number in range(100):
                    deaf.send("result", {"id": job}, number)
            self.assertEqual(8 * MIB, len(self.client.result(job)["outputs"][0]["text"]))
        until(lambda: self.client.request("stats")["counters"]["reply_bytes_unread"] < MIB, "their replies are dropped")

    def test_clients_that_never_read_are_cut_off_where_they_keep_others_from_their_results(self):
        job = self.client.submit(generate())[0]
        worker = self.worker()
        worker.finish(worker.take_job(), text="x" * (8 * MIB))
        with contextlib.ExitStack() as stack:
            for _ in range(20):  # each may leave 16 MiB unread, and all 256
                deaf = stack.enter_context(self.peer())
                deaf.socket.setsockopt(zmq.RCVHWM, 1)
                for number in range(8):
                    deaf.send("result", {"id": job}, number)
            until(lambda: self.client.request("stats")["counters"]["reply_bytes_unread"] >= 256 * MIB, "all that may lie unread does")
            self.assertEqual(8 * MIB, len(self.client.request("result", {"id": job}, timeout=60)["outputs"][0]["text"]))
            self.assertGreater(self.client.request("stats")["counters"]["connections_cut"], 0)

    def lags_behind(self):
        time.sleep(0.02)
        return self.client.request("stats")["counters"]["reply_bytes_unread"] >= 16 * MIB

    def test_a_client_that_does_not_read_may_not_submit_until_it_does(self):
        job = self.client.submit(generate())[0]
        worker = self.worker()
        worker.finish(worker.take_job(), text="x" * (8 * MIB))
        with self.peer() as greedy:
            greedy.socket.setsockopt(zmq.RCVHWM, 1)
            for number in range(8):
                greedy.send("result", {"id": job}, number)
            until(lambda: all(self.lags_behind() for _ in range(10)), "its queue is full and it lags behind")
            before, looks = self.client.request("stats")["counters"]["requests"], itertools.count(1)
            greedy.send("submit", {"jobs": [generate()]}, 99)
            until(lambda: self.client.request("stats")["counters"]["requests"] > before + next(looks), "the submit is read")
            replies = [greedy.receive() for _ in range(9)]
            refusal = next(reply for reply in replies if reply.id == 99)
            self.assertEqual(("error", wire.RESOURCE_EXHAUSTED), (refusal.kind, refusal.body["code"]))
            self.assertEqual(8, sum(reply.kind == "job_result" for reply in replies))
            greedy.submit(generate())


class Frames(QueueTest):
    daemon_options = leases_of(3000)

    def test_frames_that_take_long_to_read_do_not_silence_the_workers(self):
        worker = self.worker()
        job = self.client.submit(generate())[0]
        assigned = worker.take_job()
        dense = msgpack.packb({"version": 1, "kind": "list", "id": 1, "body": {"junk": [[0] * 4000] * 240}})
        with self.peer() as hostile:
            for _ in range(200):
                hostile.send_raw(dense)
            worker.heartbeat(assigned)
            worker.expect("heartbeat_ack")
            read = self.client.request("stats")["counters"]["requests"]
            self.assertLess(read, 200, "the worker was heard before all of the frames were read")
            worker.finish(assigned)
            self.assertEqual("succeeded", self.client.wait(job)[0]["state"])

    def test_long_error_messages_are_cut_and_list_works(self):
        jobs = self.client.submit(*(generate(max_attempts=1) for _ in range(2)))
        worker = self.worker(capacity=2)
        for assigned in [worker.take_job() for _ in jobs]:
            worker.send_error(assigned, wire.INTERNAL, "é" * (7 * MIB))
            worker.expect("result_ack")
        listed = self.client.request("list")["jobs"]
        self.assertEqual([4096, 4096], [len(one["error"]["message"].encode()) for one in listed])


class Pages(QueueTest):
    daemon_options = leases_of(30_000)  # with sanitizers it takes seconds to make one message of all the questions

    def test_results_larger_than_a_frame_come_in_pages(self):
        questions = [f"{number} " + "?" * 60_000 for number in range(256)]
        job = self.client.submit({"task": "qa", "document": "d", "questions": questions})[0]
        worker = self.worker()
        assigned = worker.take_job()
        outputs = [{"text": "a" * 50_000, "finish_reason": "stop", "output_tokens": 1} for _ in questions]
        worker.send("result", {"job": assigned["job"], "attempt": 1, "outputs": outputs})
        self.assertTrue(worker.expect("result_ack").body["accepted"])
        got, start, pages = [], 0, 0
        while True:
            page = self.client.request("result", {"id": job, "from": start})
            got += [output["question"] for output in page["outputs"]]
            start, pages = page.get("next", 0), pages + 1
            if start == 0:
                break
        self.assertEqual(questions, got)
        self.assertGreater(pages, 4)
        shown = self.ctl_ok("result", job)
        self.assertEqual(256, shown.count("A: aaa"))


class Poison(QueueTest):
    daemon_options = leases_of(1000)

    def test_a_job_that_kills_its_workers_fails_and_its_neighbours_succeed(self):
        jobs = self.client.submit(*(generate(f"job {number}", max_attempts=3) for number in range(4)))
        poison = jobs[2]
        ended = set()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and len(ended) < 4:
            worker = FakeWorker(self.workers_url, capacity=4)
            worker.hello()
            try:
                self.work(worker, poison)
            finally:
                worker.close()  # without a goodbye
            ended = {job for job in jobs if self.state(job) in wire.FINAL}
        self.assertEqual(["succeeded", "succeeded", "failed", "succeeded"], [self.state(job) for job in jobs])
        self.assertEqual(4, self.attempts(poison).count("lost"))

    def work(self, worker, poison):
        """Does what comes, and dies of the poison, or when there is nothing to do."""
        held = []
        with contextlib.suppress(wire.Silence):
            while True:
                held.append(worker.take_job(timeout=0.3))
                worker.heartbeat(*held)
        while held and all(job["job"] != poison for job in held):
            for job in held:
                worker.finish(job)
            held = []
            with contextlib.suppress(wire.Silence):
                held.append(worker.take_job(timeout=0.3))


if __name__ == "__main__":
    unittest.main()
