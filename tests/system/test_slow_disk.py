"""A disk that takes its time: nothing is acknowledged before it is on disk, and nobody else waits for that."""

import contextlib
import threading
import unittest

import wire
from disk_case import FaultyDisk
from fake_worker import FakeWorker
from harness import until
from wire import generate

CLIENTS, JOBS_EACH = 8, 12


class SlowDisk(FaultyDisk):
    def test_reads_are_answered_while_a_commit_waits_for_the_disk(self):
        daemon = self.start_on_faulty_disk()
        with self.peer() as client, self.peer() as submitter, FakeWorker(self.workers_url) as worker:
            worker.hello()
            [ended] = client.submit(generate())
            worker.finish(worker.take_job())
            [queued] = client.submit(generate(), generate())[1:]
            self.begin("hold")
            submitter.send("submit", {"jobs": [generate()]}, 7)
            until((self.faults / "held").exists, "the commit waits for the disk")
            for _ in range(100):
                client.request("ping")
                self.assertEqual("queued", client.job(queued)["state"])
                self.assertEqual("done", client.result(ended)["outputs"][0]["text"])
            self.assertTrue(client.request("status")["workers"])
            self.assertIn(queued, [row["id"] for row in client.request("list")["jobs"]])
            with self.assertRaises(wire.Silence):
                submitter.receive(0.2)
            self.end("hold")
            acknowledged = submitter.receive()
            self.assertEqual(("submitted", 7), (acknowledged.kind, acknowledged.id))
            daemon.kill()
        self.assertIn(acknowledged.body["ids"][0], self.stored())

    def test_many_share_the_wait_and_a_kill_loses_nothing(self):
        daemon = self.start_on_faulty_disk(sync_ms=200)
        acknowledged = [[] for _ in range(CLIENTS)]
        killed = threading.Event()

        def submit(ids):
            with self.peer() as client:
                for number in range(1, JOBS_EACH + 1):
                    client.send("submit", {"jobs": [generate()]}, number)
                    while not killed.is_set():
                        with contextlib.suppress(wire.Silence):
                            ids += client.receive(0.5).body["ids"]
                            break

        clients = [threading.Thread(target=submit, args=(ids,), daemon=True) for ids in acknowledged]
        for client in clients:
            client.start()
        pings = 0
        with self.peer() as client:
            while sum(map(len, acknowledged)) < CLIENTS * JOBS_EACH // 2:
                client.request("ping")
                pings += 1
            commits = client.request("stats")["counters"]["commits"]
        daemon.kill()
        killed.set()
        for client in clients:
            client.join()
        told = sorted(sum(acknowledged, []))
        self.assertLess(commits, len(told), "many share a commit")
        self.assertGreater(pings, commits, "who reads waits for none")
        self.start_daemon()
        self.assertEqual(len(told), len(set(told)))
        self.assertLessEqual(set(told), set(self.stored()))


if __name__ == "__main__":
    unittest.main()
