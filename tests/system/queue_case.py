"""What the tests of the queue start from: a daemon, a client, and fake workers, so that each step happens when the test
says."""

from fake_worker import FakeWorker
from harness import SystemTest


class QueueTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon()
        self.client = self.peer()
        self.addCleanup(self.client.close)

    def worker(self, **options):
        worker = FakeWorker(self.workers_url, **options)
        self.addCleanup(worker.close)
        worker.hello()
        return worker

    def state(self, job):
        return self.client.job(job)["state"]

    def attempts(self, job):
        return [row["outcome"] for row in self.sql("SELECT * FROM job_attempts WHERE id = ? ORDER BY attempt", job)]
