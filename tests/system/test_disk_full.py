"""A disk without room: submits are refused with a clear error, what was acknowledged stays, and the daemon takes jobs
again once there is room. Needs root, to mount a small tmpfs."""

import os
import subprocess
import unittest

import wire
from harness import SystemTest, until
from wire import generate


class DiskFull(SystemTest):
    def setUp(self):
        super().setUp()
        self.state_dir.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(self.state_dir)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            self.skipTest("mounting a tmpfs needs root and CAP_SYS_ADMIN")
        self.addCleanup(lambda: (self.finish_processes(), subprocess.run(["umount", str(self.state_dir)], check=True)))

    def test_submits_are_refused_while_the_disk_is_full_and_taken_again_afterwards(self):
        daemon = self.start_daemon()
        acknowledged = []
        with self.peer() as client:
            with self.assertRaises(wire.Refusal) as refusal:
                for _ in range(64):
                    acknowledged += client.submit(generate("x" * 200_000))
            self.assertIn(refusal.exception.code, (wire.UNAVAILABLE, wire.RESOURCE_EXHAUSTED))
            self.assertRegex(refusal.exception.message, "disk|space|full")
            client.request("ping")
            for job in acknowledged:  # what is there can be read, and seen to be read
                self.assertEqual("queued", client.job(job)["state"])
            self.assertEqual(len(acknowledged), client.request("status")["jobs"]["queued"])
            self.assertEqual(len(acknowledged), len(client.request("list")["jobs"]))
            self.assertIn("jobs cannot be stored", daemon.text())
            subprocess.run(["mount", "-o", "remount,size=64m", str(self.state_dir)], check=True)

            def taken():
                try:
                    return client.submit(generate())
                except wire.Refusal:
                    return None

            acknowledged += until(taken, "a job is taken again")
            self.assertEqual(set(acknowledged), {row["id"] for row in self.sql("SELECT id FROM job_status")})


if __name__ == "__main__":
    unittest.main()
