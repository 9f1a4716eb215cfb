"""Damaged databases, as disks leave them: the daemon goes on with what it can or stops with a message that says what to
do; it neither crashes nor keeps silent, and it loses nothing that can still be read."""

import contextlib
import os
import random
import shutil
import sqlite3
import time
import unittest

import wire
from fake_worker import FakeWorker
from harness import SANITIZED, SOURCE, SystemTest, until
from wire import generate

PAGE = 4096
MARK = "a text that only one job has "


class Damage(SystemTest):
    def setUp(self):
        super().setUp()
        self.database = self.state_dir / "dslad.db"
        self.log = self.state_dir / "dslad.db-wal"

    def stop(self, daemon):
        self.assertIsNone(daemon.finish())
        self.assertFalse(self.log.exists())

    def filled(self, kill=False):
        """A database with jobs in it, of a daemon that has stopped; their ids."""
        daemon = self.start_daemon()
        with self.peer() as client:
            jobs = client.submit(generate(MARK * 2000), generate("sound"), generate("sound too"))
            for n in range(6):
                jobs += client.submit(generate(f"job {n}"))
        daemon.kill() if kill else self.stop(daemon)
        return jobs

    def overwrite(self, file, at, data):
        with open(file, "r+b") as opened:
            opened.seek(at)
            opened.write(data)

    def refuses_to_start(self, *words):
        before = self.database.read_bytes()
        daemon = self.start_daemon(ready=False)
        daemon.expected_exit = {1}
        self.assertEqual(1, daemon.wait())
        for word in words:
            self.assertRegex(daemon.text(), word)
        self.assertEqual(before, self.database.read_bytes())

    def test_a_zeroed_header_is_told_and_nothing_is_changed(self):
        self.filled()
        self.overwrite(self.database, 0, bytes(100))
        self.refuses_to_start("dslad.db: .*not a database", "nothing was changed", "Damage")

    def test_a_file_cut_in_the_middle_is_told_and_nothing_is_changed(self):
        self.filled()
        os.truncate(self.database, self.database.stat().st_size // 2 // PAGE * PAGE)
        self.refuses_to_start("malformed", "nothing was changed", "Damage")

    def test_a_damaged_log_is_not_taken_for_a_power_cut(self):
        jobs = self.filled(kill=True)
        log = self.log.read_bytes()
        self.overwrite(self.log, len(log) - 24 * (PAGE + 24) + 2000, b"?" * 8)
        damaged = self.log.read_bytes()
        self.refuses_to_start("dslad.db-wal is damaged", "truncate -s")
        self.assertEqual(damaged, self.log.read_bytes(), "what is left can still be saved")
        self.log.write_bytes(log)  # the disk was mended
        self.start_daemon()
        self.assertEqual(set(jobs), {row["id"] for row in self.sql("SELECT id FROM job_status")})

    def test_a_log_cut_as_the_message_says_keeps_what_lies_before(self):
        jobs = self.filled(kill=True)
        log = self.log.read_bytes()
        self.overwrite(self.log, len(log) - 24 * (PAGE + 24) + 2000, b"?" * 8)
        daemon = self.start_daemon(ready=False)
        daemon.expected_exit = {1}
        daemon.wait()
        command = daemon.text().split("truncate -s ")[1].split()
        os.truncate(self.log, int(command[0]))
        self.assertEqual(f"{self.log};", command[1])
        self.start_daemon()
        there = {row["id"] for row in self.sql("SELECT id FROM job_status")}
        self.assertLess(there, set(jobs))
        self.assertIn(jobs[0], there)

    def test_a_log_without_its_beginning_is_told(self):
        self.filled(kill=True)
        self.overwrite(self.log, 0, bytes(32))
        self.refuses_to_start("dslad.db-wal is damaged at its beginning")

    def test_a_job_whose_texts_are_damaged_while_the_daemon_serves_fails_alone(self):
        jobs = self.filled()
        daemon = self.start_daemon()
        data, text = self.database.read_bytes(), MARK.encode() * 200
        pages = [at for at in range(0, len(data), PAGE) if data[at + 4 : at + PAGE] in text]
        self.assertGreater(len(pages), 10)
        self.overwrite(self.database, pages[3], b"\xa5" * PAGE)  # the pointer to the next one is gone
        worker = FakeWorker(self.workers_url, capacity=20)
        self.addCleanup(worker.close)
        worker.hello()
        taken = [worker.take_job()["job"] for _ in jobs[1:]]
        self.assertEqual(set(jobs[1:]), set(taken))
        with self.peer() as client:
            lost = client.job(jobs[0])
            self.assertEqual(("failed", wire.CORRUPT), (lost["state"], lost["error"]["code"]))
            self.assertGreater(client.request("stats")["counters"]["damage_met"], 0)
        self.assertIn("the database is damaged", daemon.text())
        found = self.ctl("integrity")
        self.assertEqual(1, found.returncode)
        self.assertTrue(found.stdout)

    def test_whatever_page_is_damaged_nothing_crashes_and_somebody_says_so(self):
        self.filled()
        sound = self.folder / "sound.db"
        shutil.copyfile(self.database, sound)
        pages = range(2, sound.stat().st_size // PAGE + 1)
        for page in random.Random(7).sample(pages, 5 if SANITIZED else 24):
            with self.subTest(page=page):
                self.log.unlink(missing_ok=True)
                shutil.copyfile(sound, self.database)
                self.overwrite(self.database, (page - 1) * PAGE, b"\xa5" * PAGE)
                try:
                    self.serve_damaged()
                finally:
                    if self.processes[-1].alive():
                        self.processes[-1].kill()

    def serve_damaged(self):
        daemon = self.start_daemon(ready=False)
        until(lambda: not daemon.alive() or "ready" in daemon.text(), "it starts, or says why not")
        if not daemon.alive():
            self.assertEqual(1, daemon.child.returncode)
            self.assertRegex(daemon.text(), "malformed|damaged")
            daemon.expected_exit = {1}
            return
        worker = FakeWorker(self.workers_url, capacity=20)
        with contextlib.closing(worker), self.peer() as client:
            worker.introduce()
            for kind, body in (("list", {}), ("submit", {"jobs": [generate()]}), ("status", {}), ("layers", {}),
                               ("cancel", {"ids": [2]}), ("count", {"client": "nobody"})):
                with contextlib.suppress(wire.Refusal):
                    client.request(kind, body)
            with contextlib.suppress(wire.Silence):
                worker.take_job(timeout=0.5)
            found = self.ctl("integrity")
            self.assertEqual(1, found.returncode, found.stdout + found.stderr)
            self.assertTrue(found.stdout)
            with contextlib.suppress(wire.Refusal):
                client.request("purge")  # last: it may take the damage along
        self.assertIn("the database is damaged", daemon.text())
        self.assertIsNone(daemon.finish())


class MigrationKilled(SystemTest):
    def test_a_daemon_killed_while_it_brings_a_database_forward_leaves_a_version_that_is_whole(self):
        self.state_dir.mkdir()
        database = self.state_dir / "dslad.db"
        jobs = 2_000 if SANITIZED else 20_000
        with contextlib.closing(sqlite3.connect(database)) as db:
            db.executescript((SOURCE / "tests/golden/databases/version_1.sql").read_text())
            db.executescript(f"""
                WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs + 99})
                INSERT INTO jobs (id, task, priority, max_attempts, created_ms) SELECT i, 'generate', 0, 3, 1 FROM n;
                INSERT INTO job_inputs SELECT id, 8, 0.0, 1.0, 0, '', 'a prompt' FROM jobs WHERE id >= 100;""")
        newest = max(int(file.name[:4]) for file in (SOURCE / "schema/migrations").glob("*.sql"))
        for delay in (0.05, 0.1, 0.15, 0.2, 0.3):
            daemon = self.start_daemon(ready=False)
            time.sleep(delay)
            daemon.kill()
            with contextlib.closing(sqlite3.connect(database)) as db:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                self.assertIn(version, range(1, newest + 1))
                self.assertEqual([("ok",)], db.execute("PRAGMA integrity_check").fetchall())
                self.assertEqual(jobs, db.execute("SELECT count(*) FROM job_inputs WHERE job_id >= 100").fetchone()[0])
                has_clients = "client" in {row[1] for row in db.execute("PRAGMA table_info(jobs)")}
                self.assertEqual(version >= 4, has_clients)
        self.start_daemon()
        self.assertEqual(newest, self.sql("PRAGMA user_version")[0][0])
        self.assertEqual("ok\n", self.ctl_ok("integrity"))


if __name__ == "__main__":
    unittest.main()
