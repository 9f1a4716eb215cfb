"""A disk that the kernel makes read-only while the daemon serves, as it does when a file system finds an error: submits
are refused with the cause, reads are answered, nothing that was acknowledged is lost."""

import os
import pathlib
import subprocess
import unittest

import wire
from disk_case import FaultyDisk
from fake_worker import FakeWorker
from harness import SystemTest, until
from wire import generate

FAILED = 1  # exit status of dslad


def serve_read_only(test, make_read_only):
    """From a daemon that serves to one that cannot write; the jobs that it has acknowledged."""
    with test.peer() as client, FakeWorker(test.workers_url) as worker:
        worker.hello()
        ended, queued = client.submit(generate(), generate())
        worker.finish(worker.take_job())
        make_read_only()
        with test.assertRaises(wire.Refusal) as refusal:
            client.submit(generate())
        test.assertEqual(wire.UNAVAILABLE, refusal.exception.code)
        test.assertIn("read-only", refusal.exception.message.lower())
        test.assertEqual("done", client.result(ended)["outputs"][0]["text"])
        test.assertIn(client.job(queued)["state"], ("queued", "running"))
        test.assertEqual(1, client.request("status")["jobs"]["succeeded"])
        test.assertEqual({ended, queued}, {row["id"] for row in client.request("list")["jobs"]})
    return {ended, queued}


class Mounted(SystemTest):
    """Needs root, to mount."""

    def setUp(self):
        super().setUp()
        self.state_dir.mkdir()
        self.addCleanup(lambda: (self.finish_processes(), self.unmount()))

    def mount(self, *arguments):
        command = ["mount", *map(str, arguments), str(self.state_dir)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            self.skipTest("mounting a file system needs root, CAP_SYS_ADMIN and, for some, a loop device")

    def unmount(self):
        if self.state_dir.is_mount():
            subprocess.run(["umount", str(self.state_dir)], check=True)

    def find_error(self):
        """Has the kernel find an error in the file system, which makes it read-only to all from then on."""
        device = subprocess.check_output(["findmnt", "-no", "SOURCE", str(self.state_dir)], text=True).strip()
        try:
            pathlib.Path("/sys/fs/ext4", os.path.basename(device), "trigger_fs_error").write_text("by a test")
        except OSError as error:
            self.skipTest(f"the kernel's errors cannot be made here: {error}")

    def test_nothing_is_lost_by_a_file_system_that_became_read_only(self):
        image = self.folder / "disk"
        with open(image, "wb") as file:
            file.truncate(32 << 20)
        try:
            subprocess.run(["/sbin/mkfs.ext4", "-q", image], check=True)
        except FileNotFoundError:
            self.skipTest("/sbin/mkfs.ext4 is missing")
        self.mount("-o", "loop,errors=remount-ro", image)
        daemon = self.start_daemon()
        acknowledged = serve_read_only(self, self.find_error)
        self.assertIsNone(daemon.finish())
        self.unmount()
        self.assertIn(subprocess.run(["/sbin/e2fsck", "-fy", image], capture_output=True).returncode, (0, 1))
        self.mount("-o", "loop", image)
        self.start_daemon()
        self.assertEqual(acknowledged, {row["id"] for row in self.sql("SELECT id FROM job_status")})
        with self.peer() as client:
            client.submit(generate())

    def test_a_daemon_does_not_start_in_a_folder_that_it_cannot_write(self):
        self.mount("-t", "tmpfs", "-o", "size=4m", "tmpfs")
        self.assertIsNone(self.start_daemon().finish())
        subprocess.run(["mount", "-o", "remount,ro", str(self.state_dir)], check=True)
        daemon = self.start_daemon(ready=False)
        daemon.expected_exit = {FAILED}
        self.assertEqual(FAILED, daemon.wait(), daemon.text())
        self.assertIn(f"{self.state_dir}/dslad.lock: Read-only file system", daemon.text())


class Simulated(FaultyDisk):
    def test_service_goes_on_once_the_disk_can_be_written(self):
        daemon = self.start_on_faulty_disk()
        acknowledged = serve_read_only(self, lambda: self.begin("read-only"))
        self.end("read-only")
        with self.peer() as client:

            def taken():
                try:
                    return client.submit(generate())
                except wire.Refusal:
                    return None

            acknowledged |= set(until(taken, "a job is taken again"))
        self.assertIsNone(daemon.finish())
        self.assertEqual(acknowledged, set(self.stored()))


if __name__ == "__main__":
    unittest.main()
