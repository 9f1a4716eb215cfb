"""Processes that stand still and wake up (SIGSTOP, SIGCONT), as on a machine that is suspended or swaps: a worker whose
lease has run out knows nothing of it and sends its late result; a daemon finds minutes gone.

DSLAD_KILL_ROUNDS: how many stops (10); DSLAD_KILL_SEED: which moments."""

import os
import signal
import time
import unittest

from harness import leases_of, until
from load_case import LEASE_MS, LoadTest
from queue_case import QueueTest
from wire import generate

ROUNDS = int(os.environ.get("DSLAD_KILL_ROUNDS", "10"))


class StopUnderLoad(LoadTest):
    def test_every_acknowledged_job_ends_exactly_once(self):
        self.workers = [self.start_worker(model=self.model) for _ in range(2)]
        self.check_under_load(self.stop_at_random)
        counts = self.report(f"{ROUNDS} stops")
        if ROUNDS >= 10:
            self.assertIn("lost", counts, "no stop outlasted the lease of a running job")

    def stop_at_random(self, dice):
        """One to all of them, for nothing to a few leases; they wake up one by one, in any order."""
        for _ in range(ROUNDS):
            time.sleep(dice.uniform(0.0, 1.0))
            all_of_them = [self.daemon, *self.workers]
            stopped = dice.sample(all_of_them, dice.choice((1, 1, 1, 2, 3)))
            for process in stopped:
                process.signal(signal.SIGSTOP)
            for process in dice.sample(stopped, len(stopped)):
                time.sleep(dice.uniform(0.0, 2.5 * LEASE_MS / 1000))
                process.signal(signal.SIGCONT)


class Stop(QueueTest):
    lease_ms = 3000  # a loaded machine must not look like a silent worker
    daemon_options = leases_of(lease_ms)

    def test_a_worker_that_wakes_up_after_its_lease_changes_nothing_and_goes_on(self):
        sleeper = self.start_worker()
        [job] = self.client.submit(generate(max_tokens=400))
        until(lambda: self.state(job) == "running", "the job is in the worker's hands")
        sleeper.signal(signal.SIGSTOP)
        until(lambda: self.state(job) == "queued", "the lease has ended")
        other = self.worker(name="other")
        self.assertTrue(other.finish(other.take_job(), text="fresh"))
        other.send("goodbye", {"reason": "a test"})
        sleeper.signal(signal.SIGCONT)
        [later] = self.client.submit(generate())
        self.assertEqual("succeeded", self.client.wait(later)[0]["state"])
        self.assertEqual(["fresh"], [output["text"] for output in self.client.result(job)["outputs"]])
        self.assertEqual((["lost", "succeeded"], ["succeeded"]), (self.attempts(job), self.attempts(later)))

    def test_a_daemon_that_wakes_up_blames_no_worker_and_answers_who_waited(self):
        [job] = self.client.submit(generate(max_attempts=1))
        worker = self.worker()
        assigned = worker.take_job()
        self.daemon.signal(signal.SIGSTOP)
        self.client.send("ping", number=4711)
        time.sleep(2 * self.lease_ms / 1000)
        self.daemon.signal(signal.SIGCONT)
        reply = self.client.receive()
        self.assertEqual(("pong", 4711), (reply.kind, reply.id))
        self.assertTrue(worker.finish(assigned))
        self.assertEqual(["succeeded"], self.attempts(job))


if __name__ == "__main__":
    unittest.main()
