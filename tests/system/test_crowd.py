"""A crowd of connections that say nothing, say half of something, or ask and never read; and one client and one worker who
mean well among them.

DSLAD_CONNECTIONS: how many (1000); as many as the limit of open files allows, which is said."""

import os
import sys
import time
import unittest

from crowd import Crowd, raise_limit_of_files
from harness import SANITIZED, resident_bytes, until
from queue_case import QueueTest
from wire import generate

MIB = 1 << 20
WANTED = int(os.environ.get("DSLAD_CONNECTIONS", "1000"))
OWN_FILES = 200  # that this process has for other things, and the daemon keeps from clients
CONNECTIONS = min(WANTED, raise_limit_of_files() - OWN_FILES)
ROUNDS = 200
HALF_BYTES = 64 << 10
if CONNECTIONS < WANTED:
    print(f"only {CONNECTIONS} connections: the limit of open files allows no more", file=sys.stderr)


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class CrowdTest(QueueTest):
    # Replies that nobody reads, and of each connection what it has sent of a message and what libzmq keeps for it.
    allowed = 10_000 * MIB if SANITIZED else 320 * MIB + CONNECTIONS * 64 * 1024

    def test_a_client_and_a_worker_are_served_in_a_crowd(self):
        [large] = self.client.submit(generate())
        worker = self.worker()
        worker.finish(worker.take_job(), text="x" * MIB)
        alone, memory = self.serve(worker), resident_bytes(self.daemon)
        with Crowd(self.folder / "jobs.sock") as crowd:
            began = time.monotonic()
            self.gather(crowd, large)
            gathered = time.monotonic() - began
            until(lambda: self.counters()["reply_bytes_unread"] > 0, "replies lie unread")
            worker.send("goodbye", {"reason": "another takes its place"})
            until(lambda: not self.status()["workers"], "the worker is gone")
            late = self.worker(name="late")
            among = self.serve(late)
            most = resident_bytes(self.daemon)
            self.tell("alone", alone, memory)
            self.tell(f"among {CONNECTIONS} connections, made in {gathered:.1f} s", among, most)
            self.assertLess(most - memory, self.allowed)
            self.assertEqual(0, self.counters()["connections_refused"])
        until(lambda: self.counters()["reply_bytes_unread"] == 0, "what they asked for goes with them")

    def gather(self, crowd, large):
        for number in range(CONNECTIONS):
            kind = number % 10
            if kind < 3:
                crowd.mute()
            elif kind < 6:
                crowd.add()
            elif kind < 9:
                crowd.half(b"x" * 2 * HALF_BYTES)
            else:
                crowd.asks("result", {"id": large}, 4)

    def serve(self, worker):
        """Jobs from submit to result, one after another, each by a client who has just come: milliseconds of each."""
        times = []
        for _ in range(ROUNDS):
            began = time.monotonic()
            with self.peer() as client:
                [job] = client.submit(generate())
                self.assertTrue(worker.finish(worker.take_job()))
                self.assertEqual("succeeded", client.result(job)["job"]["state"])
            times.append((time.monotonic() - began) * 1000)
        return times

    def counters(self):
        return self.client.request("stats")["counters"]

    def tell(self, when, times, memory):
        print(f"{when}: {len(times)} jobs, each p50 {percentile(times, 0.5):.1f} ms, p99 {percentile(times, 0.99):.1f} ms, "
              f"longest {max(times):.1f} ms; {memory / MIB:.1f} MiB", file=sys.stderr)


class BoundTest(QueueTest):
    bound = CONNECTIONS // 2
    more = 64  # descriptors that the daemon keeps for itself; connections have those of them that are free
    daemon_options = ("--set", f"listen.max_connections={bound}")

    def test_beyond_the_bound_connections_are_turned_away_and_workers_let_in(self):
        with Crowd(self.folder / "jobs.sock") as crowd:
            for _ in range(CONNECTIONS):
                crowd.mute()
            until(lambda: self.refused() >= CONNECTIONS - self.bound - self.more, "the surplus is turned away")
            self.assertLessEqual(len(os.listdir(f"/proc/{self.daemon.child.pid}/fd")), self.bound + self.more)
            worker = self.worker()
            [job] = self.client.submit(generate())
            self.assertTrue(worker.finish(worker.take_job()))
            self.assertEqual(["succeeded"], self.attempts(job))

    def refused(self):
        return self.client.request("stats")["counters"]["connections_refused"]


if __name__ == "__main__":
    unittest.main()
