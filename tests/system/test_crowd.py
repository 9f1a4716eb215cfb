"""A crowd of connections that say nothing, say half of something, or ask and never read; and one client and one worker who
mean well among them.

DSLAD_CONNECTIONS: how many (1000); as many as the limit of open files allows, which is said."""

import contextlib
import os
import struct
import sys
import threading
import time
import unittest

from crowd import LONG, READY_TO_LISTEN, Crowd, frame, part, raise_limit_of_files
from harness import SANITIZED, resident_bytes, until
from queue_case import QueueTest
import wire
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


class Inflow(QueueTest):
    kept = 384 * MIB  # of all connections' half messages
    allowed = 10_000 * MIB if SANITIZED else kept + 256 * MIB
    longest = 16 * MIB

    def test_half_messages_take_little_memory_and_whole_ones_are_read(self):
        before, most = resident_bytes(self.daemon), 0
        almost_all = b"x" * (self.longest - MIB)
        with Crowd(self.folder / "jobs.sock") as crowd:
            for number in range(40):
                crowd.pour(struct.pack(">BQ", LONG, self.longest), almost_all)
                most = max(most, resident_bytes(self.daemon))
                if number % 8 == 7:
                    with self.peer() as client:
                        client.submit(generate("y" * (8 * MIB)))
            cut = self.cut()
        self.assertLess(most - before, self.allowed)
        self.assertGreaterEqual(cut, 40 - self.kept // len(almost_all))
        self.assertLess(cut, 40)

    def test_whole_messages_take_little_memory_until_they_are_read(self):
        before, most = resident_bytes(self.daemon), 0
        body = frame(wire.pack("submit", {"jobs": [generate("y" * (self.longest - MIB))]}, 1)) * 16
        with Crowd(self.folder / "jobs.sock") as crowd:
            floods = [threading.Thread(target=crowd.pour, args=(b"", body)) for _ in range(12)]
            for flood in floods:
                flood.start()
            while any(flood.is_alive() for flood in floods):
                most = max(most, resident_bytes(self.daemon))
                self.client.request("ping")
                time.sleep(0.02)
        self.assertLess(most - before, self.allowed)

    def test_a_message_whose_frames_do_not_end_is_cut_off(self):
        before = resident_bytes(self.daemon)
        with Crowd(self.folder / "jobs.sock") as crowd:
            self.assertFalse(crowd.pour(b"", part(b"x" * MIB) * 64))
            self.assertFalse(crowd.pour(b"", part(b"") * 8 * MIB))  # each costs memory although it carries nothing
            until(lambda: self.cut() == 2, "both are cut off")
        if not SANITIZED:
            self.assertLess(resident_bytes(self.daemon) - before, 64 * MIB)

    def test_who_does_not_speak_zmtp_3_is_cut_off(self):
        with Crowd(self.folder / "jobs.sock") as crowd:
            for greeting in (b"GET / HTTP/1.1\r\n", b"\x01\x00", b"\xff" + bytes(8) + b"\x7f\x01\x05"):
                one = crowd.mute()
                one.sendall(greeting)
                with contextlib.suppress(ConnectionResetError):
                    while one.recv(64):  # its greeting, and the end
                        pass
        self.assertEqual(3, self.cut())

    def test_a_subscriber_that_says_too_much_is_cut_off(self):
        names = b"".join(bytes((0, 33)) + b"\x01" + os.urandom(32) for _ in range(50_000))
        with Crowd(self.folder / "events.sock") as crowd:
            flood = threading.Thread(target=crowd.pour, args=(b"", names, READY_TO_LISTEN))
            flood.start()
            while flood.is_alive():  # with each event the daemon reads some
                self.client.submit(generate())
            self.assertTrue(crowd.pour(b"", names[: 35 * 1000], READY_TO_LISTEN))
        self.assertEqual(1, self.cut())

    def cut(self):
        return self.client.request("stats")["counters"]["connections_cut"]


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
