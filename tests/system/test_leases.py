"""Leases against workers that commit faults on purpose: silence, late and repeated results, restarts of either side."""

import pathlib
import time
import unittest

import wire
from fake_worker import FakeWorker, lease_of
from harness import leases_of, until
from queue_case import QueueTest
from wire import generate

LEASE_MS = 3000  # a loaded machine must not look like a silent worker


class Leases(QueueTest):
    daemon_options = leases_of(LEASE_MS)

    def test_a_silent_workers_job_goes_to_another_and_its_late_result_is_dropped(self):
        [job] = self.client.submit(generate())
        silent = self.worker(name="silent")
        late = silent.take_job()
        until(lambda: self.state(job) == "queued", "the lease has ended")
        sound = self.worker(name="sound")
        again = sound.take_job()
        self.assertEqual((job, 2), (again["job"], again["attempt"]))
        silent.send_result(late, text="stale")
        sound.heartbeat(again)
        self.assertTrue(sound.finish(again, text="fresh"))
        result = self.client.result(job)
        self.assertEqual(["fresh"], [output["text"] for output in result["outputs"]])
        self.assertEqual(["lost", "succeeded"], self.attempts(job))

    def test_workers_of_one_name_as_in_containers_finish_all_their_jobs(self):
        workers = [self.worker(name="box:1:cpu", capacity=2) for _ in range(2)]
        jobs = self.client.submit(*[generate() for _ in range(4)])
        held = [(worker, [worker.take_job(), worker.take_job()]) for worker in workers]
        for worker, assigned in held:
            worker.leases = [lease_of(job) for job in assigned]
            worker.hello()  # as after a lost connection
        for worker, assigned in held:
            self.assertEqual([True, True], [worker.finish(job) for job in assigned])
        self.assertEqual({"succeeded"}, {info["state"] for info in self.client.wait(*jobs)})
        self.assertEqual([(1, "succeeded")] * 4,
                         [(row["attempt"], row["outcome"]) for row in self.sql("SELECT * FROM job_attempts")])

    def test_heartbeats_keep_a_lease_for_as_long_as_it_takes(self):
        [job] = self.client.submit(generate())
        worker = self.worker()
        assigned = worker.take_job()

        def uptime_ms():
            return self.client.request("status")["uptime_ms"]

        def beat():
            worker.heartbeat(assigned, phase="decode", tokens_out=1)
            return uptime_ms() > enough_ms

        enough_ms = uptime_ms() + 3 * LEASE_MS

        until(beat, "three leases' time has passed")
        info = self.client.job(job)
        self.assertEqual(("running", 1), (info["state"], info["attempt"]))
        self.assertEqual("decode", info["progress"]["phase"])
        self.assertTrue(worker.finish(assigned))

    def test_a_job_whose_workers_are_lost_again_and_again_fails(self):
        [job] = self.client.submit(generate(max_attempts=2))
        self.worker(name="first").take_job()
        until(lambda: self.state(job) == "queued", "the first lease has ended")
        self.worker(name="second").take_job()
        [info] = self.client.wait(job)
        self.assertEqual(("failed", 2), (info["state"], info["attempt"]))
        self.assertEqual(["lost", "lost"], self.attempts(job))

    def test_a_result_sent_twice_counts_once(self):
        [job] = self.client.submit(generate())
        worker = self.worker()
        assigned = worker.take_job()
        self.assertTrue(worker.finish(assigned, text="once"))
        worker.send_result(assigned, text="twice")
        worker.expect("result_ack")
        self.assertEqual(["once"], [output["text"] for output in self.client.result(job)["outputs"]])
        self.assertEqual(["succeeded"], self.attempts(job))

    def test_a_result_for_another_attempt_or_an_unknown_job_is_dropped(self):
        [job] = self.client.submit(generate())
        worker = self.worker()
        assigned = worker.take_job()
        for wrong in ({"attempt": 2}, {"attempt": 0}, {"job": 4711}):
            self.assertFalse(worker.finish({**assigned, **wrong}))
        self.assertEqual("running", self.state(job))
        self.assertTrue(worker.finish(assigned))

    def test_a_workers_goodbye_returns_its_jobs_without_counting_an_attempt(self):
        [job] = self.client.submit(generate(max_attempts=1))
        leaving = self.worker(name="leaving")
        leaving.take_job()
        leaving.send("goodbye", {"reason": "upgrade"})
        other = self.worker(name="other")
        self.assertTrue(other.finish(other.take_job()))
        self.assertEqual(["given_back", "succeeded"], self.attempts(job))

    def test_a_worker_that_comes_back_with_its_lease_finishes_the_job(self):
        [job] = self.client.submit(generate())
        worker = self.worker(name="steady")
        assigned = worker.take_job()
        self.daemon.kill()
        self.start_daemon()
        back = FakeWorker(self.workers_url, name="steady", leases=[lease_of(assigned)])
        self.addCleanup(back.close)
        back.instance = worker.instance
        back.hello()
        self.assertTrue(back.finish(assigned, text="kept"))
        with self.peer() as client:
            self.assertEqual("kept", client.result(job)["outputs"][0]["text"])
        self.assertEqual(["succeeded"], self.attempts(job))

    def test_a_job_is_queued_at_its_worker_until_that_begins_it_whatever_is_killed(self):
        worker = self.worker(name="teller", capacity=4, room=2)
        begun, waits = self.client.submit(generate(), generate())
        assigned = [worker.take_job(), worker.take_job()]
        worker.begin(assigned[0])

        def are(*expected):
            with self.peer() as client:
                jobs = {job["id"]: job for job in client.request("list")["jobs"]}
                return list(expected) == [(jobs[job]["state"], jobs[job]["at_worker"], jobs[job]["worker"],
                                           jobs[job]["started_ms"] > 0) for job in (begun, waits)]

        running, waiting = ("running", False, "teller", True), ("queued", True, "teller", False)
        until(lambda: are(running, waiting), "one has begun")
        self.assertEqual({"running": 1, "queued": 1}, {row["state"]: row["n"] for row in self.sql(
            "SELECT state, count(*) AS n FROM job_status GROUP BY state")})
        self.daemon.kill()
        self.start_daemon()
        self.assertTrue(are(running, waiting))
        worker.leases = [lease_of(job) for job in assigned]
        worker.hello()
        worker.heartbeat(*assigned, phase="waiting")
        with self.peer() as client:
            client.request("status")
        self.assertTrue(are(running, waiting), "who says hello again begins nothing by that")
        worker.heartbeat(*assigned, phase="prefill")  # in place of a word that was lost
        until(lambda: are(running, running), "both have begun")
        self.assertEqual([True, True], [worker.finish(job) for job in assigned])
        self.assertEqual(["succeeded"], self.attempts(waits))

    def test_a_restarted_daemon_asks_workers_that_it_does_not_know_who_they_are(self):
        worker = self.worker()
        self.daemon.kill()
        self.start_daemon()

        def asked():
            worker.heartbeat()
            try:
                return worker.receive(0.5).kind == "who_are_you"
            except wire.Silence:
                return False

        until(asked, "the daemon asks")


class Idle(QueueTest):
    daemon_options = leases_of(LEASE_MS)

    def test_a_worker_without_jobs_makes_the_daemon_write_nothing(self):
        worker = self.worker()
        self.client.submit(generate())
        self.assertTrue(worker.finish(worker.take_job()))
        log = self.state_dir / "dslad.db-wal"

        def at_rest():
            worker.heartbeat()
            time.sleep(0.4)
            return log.stat().st_size == 0

        until(at_rest, "what was written is in the database")
        before = self.files()
        for _ in range(15):  # two leases long
            at_rest()
        self.assertEqual(before, self.files())
        self.assertEqual(1, len(self.client.request("status")["workers"]))

    def test_the_daemon_hardly_wakes_while_nobody_speaks(self):
        def a_second():
            """Wake-ups a second over five of them; on a busy machine these last longer than asked for."""
            before, begun = self.wake_ups(), time.monotonic()
            time.sleep(5)
            return (self.wake_ups() - before) / (time.monotonic() - begun)

        time.sleep(4)
        seen = []
        while len(seen) < 4 and min(seen, default=5) >= 5:  # who waits for a lock that another holds, as others compute, wakes too
            seen.append(a_second())
        self.assertLess(min(seen), 5, f"the loop twice a second, and the rest hardly ever: {seen}")

    def wake_ups(self):
        """Of the daemon's threads, which have names: how often they have waited. A sanitizer's own has none."""
        process = pathlib.Path(f"/proc/{self.daemon.child.pid}")
        tasks = [task for task in (process / "task").iterdir()
                 if task.name == process.name or (task / "comm").read_text() != (process / "comm").read_text()]
        lines = [line for task in tasks for line in (task / "status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))

    def files(self):
        return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in self.state_dir.iterdir()}


if __name__ == "__main__":
    unittest.main()
