"""A document that a worker's cache has no room for on the plan that it was given, and has on a larger one."""

import signal
import unittest

import harness

DEMO = harness.SOURCE / "packaging/demo-model/model"
DOCUMENT = ("Tom had a red ball and Lily had a big box. They were happy. " * 75)
NO_SMALLER = "on a smaller plan it does not fit the worker's cache"


class Refusals(harness.SystemTest):
    def setUp(self):
        super().setUp()
        self.document = self.folder / "long.txt"
        self.document.write_text(DOCUMENT)

    def submit(self, *options):
        return self.ctl("submit", "summarize", self.document, "--max-tokens", "4", "--wait", *options)

    def answered(self):
        """The plan of the latest job, and what was said of its attempts."""
        done = self.submit()
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        (job,) = self.sql("SELECT id, state, plan, why FROM job_metrics ORDER BY id DESC LIMIT 1")
        self.assertEqual("succeeded", job["state"])
        self.assertEqual(NO_SMALLER, job["why"])
        self.assertRegex(done.stderr, rf"dslactl: job {job['id']}: plan {job['plan']} of .*{NO_SMALLER}")  # nobody sees a heading
        (row,) = self.sql("SELECT failed_attempts FROM jobs WHERE id = ?", job["id"])
        self.assertEqual(0, row["failed_attempts"])
        return job["plan"], self.attempts()

    def attempts(self):
        """Of the latest job, plan and outcome of each."""
        rows = self.sql("SELECT assigned_plan, outcome FROM attempts WHERE job_id = (SELECT max(id) FROM jobs) ORDER BY attempt")
        return [tuple(row) for row in rows]

    def refused(self, text, *options):
        done = self.submit(*options)
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn("MiB of caches, but the budget is 8 MiB", done.stderr)
        self.assertRegex(done.stderr, text)

    def test_it_is_answered_on_the_smallest_plan_that_fits(self):
        self.start_daemon()
        self.start_worker(model=DEMO, cache_mib=8)
        plan, attempts = self.answered()
        self.assertIn(plan, range(1, 5))
        self.assertEqual([(0, "given_back"), (plan, "succeeded")], attempts)

        # What smaller plans have no room for, and why no other may be taken.
        allowed = rf"; plan {plan} of 99\.\d+% of plan 0's quality has room for it, but is"
        self.refused(rf"{allowed} above plan 0 of its own terms", "--exact")
        self.refused(rf"{allowed} above plan {plan - 1} of its own terms", "--max-plan", plan - 1)
        self.refused(rf"{allowed} below the 100% of its own terms", "--min-quality", "1")
        for policy in (("static", "--static-plan", "0"), ("threshold",)):
            self.ctl_ok("policy", "set", *policy)
            self.assertEqual(plan, self.answered()[0])
        self.ctl_ok("plan", "set", "0")
        self.refused(rf"plans are set by hand, and plan {plan} has room for it \(dslactl plan set {plan}\)")
        self.ctl_ok("policy", "set", "deadline")

        # What may be cut is cut to the room of its plan.
        cut = {}
        for plan in (0, 4):
            self.ctl_ok("policy", "set", "static", "--static-plan", plan)
            done = self.submit("--overflow", "truncate")
            self.assertEqual(0, done.returncode, done.stderr)
            (row,) = self.sql("SELECT plan, cut_tokens FROM job_metrics ORDER BY id DESC LIMIT 1")
            self.assertEqual(plan, row["plan"])
            cut[plan] = row["cut_tokens"]
        self.assertGreater(cut[0], cut[4])

    def test_a_daemon_that_dies_between_the_attempts_knows_what_the_first_has_taught(self):
        daemon = self.start_daemon()
        worker = self.start_worker(model=DEMO, cache_mib=8)
        worker.signal(signal.SIGSTOP)
        self.ctl_ok("submit", "summarize", self.document, "--max-tokens", "4")
        harness.until(self.attempts, "the job is the worker's")
        self.ctl_ok("pause")
        worker.signal(signal.SIGCONT)
        harness.until(lambda: self.attempts() == [(0, "given_back")], "the worker has refused it")
        daemon.kill()
        self.start_daemon()
        self.await_worker(worker)
        self.ctl_ok("resume")
        harness.until(lambda: len(self.attempts()) == 2 and self.attempts()[1][1], "it has been tried again")
        (plan, outcome) = self.attempts()[1]
        self.assertEqual("succeeded", outcome)
        self.assertGreater(plan, 0)


if __name__ == "__main__":
    unittest.main()
