"""Backups of a database that serves, and putting one in the place of the database, as docs/database.md says; and checks of
it while it serves."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import wire
from fake_worker import FakeWorker, lease_of
from harness import BIN, leases_of, until
from queue_case import QueueTest
from wire import generate


class Backup(QueueTest):
    daemon_options = (*leases_of(5000), "--set", "queue.retry_ms=0")

    def setUp(self):
        super().setUp()
        self.file = self.folder / "backup.db"
        self.copy = self.state_dir / "backup.db"

    def restore(self):
        """By the book."""
        self.client.close()
        self.assertIsNone(self.daemon.finish())
        for name in ("dslad.db", "dslad.db-wal", "dslad.db-shm"):
            (self.state_dir / name).unlink(missing_ok=True)
        shutil.copyfile(self.file, self.state_dir / "dslad.db")
        self.daemon = self.start_daemon()
        self.client = self.peer()
        self.addCleanup(self.client.close)

    def begin(self, peer):
        """A backup that is ready, by hand."""
        backup = peer.request("backup_begin")["backup"]
        until(lambda: peer.request("backup_show", {"backup": backup})["ready"], "the backup is ready")
        return backup

    def test_jobs_acknowledged_before_a_backup_are_there_when_it_is_restored(self):
        worker = self.worker(capacity=1)  # so that what is queued below stays so
        done, held = self.client.submit(generate("a"), generate("b"))
        self.assertTrue(worker.finish(worker.take_job(), text="the answer"))
        self.assertEqual(held, worker.take_job()["job"])
        queued = self.client.submit(generate("c" * 5_000_000))[0]
        self.ctl_ok("backup", self.file)
        self.assertEqual(0o600, self.file.stat().st_mode & 0o777)
        self.assertEqual([self.file.name], [path.name for path in self.folder.glob("backup*")])
        until(lambda: not self.copy.exists(), "the daemon's copy is gone")
        after = self.client.submit(generate("d"))[0]
        self.restore()
        worker.close()  # it will not be back: its lease ends
        self.assertEqual({done, held, queued}, {row["id"] for row in self.sql("SELECT id FROM job_status")})
        self.assertEqual("the answer", self.client.result(done)["outputs"][0]["text"])
        until(lambda: self.state(held) == "queued", "the lease of the backup is given back")
        other = self.worker(capacity=4)
        taken = {job["job"]: job for job in (other.take_job(), other.take_job())}
        self.assertEqual({held, queued}, set(taken))
        self.assertEqual(5_000_000, len(taken[queued]["prompt"]))
        self.assertTrue(other.finish(taken[held]))
        self.assertEqual(["lost", "succeeded"], self.attempts(held))
        self.assertEqual([after], self.client.submit(generate("another")))  # its number is free again
        self.assertEqual("ok\n", self.ctl_ok("integrity"))

    def test_a_worker_that_is_still_at_it_keeps_the_lease_of_a_restored_backup(self):
        worker = self.worker()
        job = self.client.submit(generate())[0]
        assigned = worker.take_job()
        self.ctl_ok("backup", self.file)
        self.restore()
        worker.leases = [lease_of(assigned)]
        worker.hello()
        self.assertTrue(worker.finish(assigned))
        self.assertEqual(["succeeded"], self.attempts(job))

    def test_a_file_that_is_there_is_replaced_only_with_force(self):
        self.file.write_text("precious")
        refused = self.ctl("backup", self.file)
        self.assertEqual(2, refused.returncode)
        self.assertIn("--force", refused.stderr)
        self.assertEqual("precious", self.file.read_text())
        saved = json.loads(self.ctl_ok("backup", "--json", "--force", self.file))
        self.assertEqual({"file", "bytes", "digest"}, set(saved))
        self.assertEqual(self.file.stat().st_size, saved["bytes"])
        missing = self.ctl("backup", self.folder / "nowhere" / "b.db")
        self.assertEqual(2, missing.returncode)
        self.assertEqual(3, self.ctl("backup", self.folder / "c.db", url=f"ipc://{self.folder}/none.sock").returncode)
        self.assertEqual([], list(self.folder.glob("c.db*")))

    def test_there_is_one_backup_at_a_time_and_it_goes_with_its_client(self):
        with self.peer() as other:
            self.begin(other)
            self.assertTrue(self.copy.exists())
            refused = self.ctl("backup", self.file)
            self.assertEqual(4, refused.returncode)
            self.assertIn("already", refused.stderr)
            self.assertEqual([], list(self.folder.glob("backup*")))
        until(lambda: not self.copy.exists(), "the copy is gone with its client")
        self.ctl_ok("backup", self.file)

    def test_a_copy_that_a_killed_daemon_left_is_removed_at_the_start(self):
        self.begin(self.client)
        self.daemon.kill()
        self.assertTrue(self.copy.exists())
        self.daemon = self.start_daemon()
        self.assertFalse(self.copy.exists())

    def test_a_daemon_that_dies_leaves_no_file_that_looks_like_a_backup(self):
        self.client.submit(*(generate("x" * 4_000_000) for _ in range(3)))
        stop = threading.Event()

        def kill():
            until(lambda: stop.is_set() or self.copy.exists(), "the copy begins")
            self.daemon.kill()

        thread = threading.Thread(target=kill)
        thread.start()
        done = self.ctl("backup", self.file, "--rpc-timeout", "2")
        stop.set()
        thread.join()
        if done.returncode == 0:  # it was quicker
            self.assertEqual([("ok",)], sqlite3.connect(self.file).execute("PRAGMA integrity_check").fetchall())
        else:
            self.assertEqual(3, done.returncode, done.stderr)
            self.assertEqual([], list(self.folder.glob("backup*")))

    def test_ctrl_c_leaves_nothing_on_either_side(self):
        self.daemon.signal(signal.SIGSTOP)  # so that it is interrupted for certain
        child = subprocess.Popen([BIN / "dslactl", "backup", self.file], stderr=subprocess.PIPE,
                                 env={**os.environ, "DSLAD_CONNECT": self.jobs_url})
        until(lambda: list(self.folder.glob("backup.db.part")), "dslactl has begun")
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        self.daemon.signal(signal.SIGCONT)
        self.assertEqual(130, child.wait(60))
        child.stderr.close()
        self.assertEqual([], list(self.folder.glob("backup*")))
        self.client.request("ping")
        until(lambda: not self.copy.exists(), "the copy is gone")

    def test_every_backup_has_what_was_acknowledged_before_it_began(self):
        acknowledged, stop = [], threading.Event()

        def submit():
            with self.peer() as peer:
                while not stop.is_set():
                    acknowledged.extend(peer.submit(generate("y" * 2000)))

        thread = threading.Thread(target=submit)
        thread.start()
        try:
            for _ in range(5):
                before = len(acknowledged)
                self.ctl_ok("backup", "--force", self.file)
                with sqlite3.connect(self.file) as db:
                    there = {row[0] for row in db.execute("SELECT id FROM job_status")}
                    self.assertEqual([("ok",)], db.execute("PRAGMA integrity_check").fetchall())
                    texts = db.execute("SELECT count(*) FROM job_inputs").fetchone()[0]
                self.assertLessEqual(set(acknowledged[:before]), there)
                self.assertEqual(len(there), texts)
        finally:
            stop.set()
            thread.join()

    def test_a_disk_without_room_is_said_before_anything_is_written(self):
        self.daemon.finish()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(self.state_dir)],
                                 capture_output=True)
        if mounted.returncode != 0:
            self.skipTest("mounting a tmpfs needs root and CAP_SYS_ADMIN")
        self.addCleanup(lambda: (self.finish_processes(), subprocess.run(["umount", str(self.state_dir)], check=True)))
        self.start_daemon()
        refused = self.ctl("backup", self.file)
        self.assertEqual(4, refused.returncode)
        self.assertRegex(refused.stderr, "needs .* MiB.*has .* MiB left")
        self.assertFalse(self.copy.exists())


class Integrity(QueueTest):
    def test_a_sound_database_is_ok_and_a_broken_one_is_told_line_by_line(self):
        self.client.submit(generate("a"), generate("b"))
        self.assertEqual("ok\n", self.ctl_ok("integrity", "--quick"))
        with sqlite3.connect(self.state_dir / "dslad.db", timeout=30) as db:
            db.execute("DELETE FROM job_inputs WHERE job_id = 2")
            db.execute("UPDATE job_counts SET jobs = 9 WHERE state = 'queued'")
        found = self.ctl("integrity")
        self.assertEqual(1, found.returncode)
        self.assertRegex(found.stdout, "9 jobs of .* are counted as queued, and there are 2")
        self.assertIn("job 2 is queued and its texts are not there\n", found.stdout)
        self.assertEqual(2, len(found.stdout.splitlines()))
        self.assertIn("docs/database.md", found.stderr)
        self.assertIn("the database is damaged", self.daemon.text())
        told = json.loads(self.ctl("--json", "integrity", "--quick").stdout)
        self.assertTrue(told["done"] and told["quick"])
        self.assertEqual(found.stdout.splitlines(), told["findings"])



if __name__ == "__main__":
    import unittest

    unittest.main()
