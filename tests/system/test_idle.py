"""What the built programs do when no user's job waits or runs: jobs that are run again on plan 0, layers that are distilled
on what users sent."""

import json
import os
import shutil
import signal
import subprocess
import time
import unittest

import harness
from harness import until
from wire import generate

STORY = "Once upon a time there was a little girl who had a red ball."


class Idle(harness.SystemTest):
    daemon_options = (
        "--set", "policy.kind=static", "--set", "policy.static_plan=3", "--set", "policy.min_quality=0.5",
        "--set", "policy.idle_after_ms=300", "--set", "policy.canary_share=0", "--set", "workers.lease_ms=2000",
    )

    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        shutil.copytree(harness.MODEL, self.model)
        subprocess.run([harness.BIN / "make_chain", self.model, "3"], check=True)

    def submit(self, *options, tokens=16):
        done = self.ctl_ok("--json", "submit", "generate", "--prompt", STORY, "--max-tokens", tokens, *options)
        return json.loads(done)["id"]

    def reruns(self):
        return self.sql("SELECT id, state, plan, agreement FROM job_reruns ORDER BY rerun_id")

    def begin_a_rerun(self, worker):
        """Until one is given out; the worker stands still, so that it does not end."""
        worker.signal(signal.SIGSTOP)
        until(lambda: any(row[1] == "running" for row in self.reruns()), "a rerun's begin")

    def answered(self, *options, **others):
        job = self.submit(*options, **others)
        self.ctl_ok("wait", "--quiet", job)
        return job

    def test_an_upgrade_is_run_again_on_plan_0_and_the_result_has_both(self):
        self.start_daemon()
        self.start_worker(model=self.model)
        job = self.answered("--upgrade")
        other = self.answered()
        first = self.ctl_ok("result", "--first", job)
        until(lambda: self.reruns() and self.reruns()[0][1] == "succeeded", "the rerun's end")
        self.assertEqual(1, len(self.reruns()), f"job {other} did not ask for it")
        result = json.loads(self.ctl_ok("--json", "result", job))
        self.assertEqual(3, result["metrics"]["plan"])
        self.assertEqual(0, result["rerun"]["metrics"]["plan"])
        exact = self.answered("--exact")
        self.assertEqual(self.ctl_ok("result", exact), self.ctl_ok("result", job))
        self.assertEqual(first, self.ctl_ok("result", "--first", job))
        self.assertEqual({"succeeded": 3}, {state: n for state, n in self.status()["jobs"].items() if n})
        policy = self.ctl_ok("policy", "show")
        self.assertIn("idle work: after 300 ms without jobs", policy)
        self.assertIn("plan 3 of model: answers agree to", policy)

    def test_a_job_that_comes_goes_first_and_the_rerun_goes_on_later(self):
        self.start_daemon()
        worker = self.start_worker(model=self.model)
        self.answered("--upgrade", tokens=400)
        self.begin_a_rerun(worker)
        job = self.submit(tokens=4)
        worker.signal(signal.SIGCONT)
        self.ctl_ok("wait", "--quiet", job)
        until(lambda: [row[1] for row in self.reruns()] == ["succeeded"], "the rerun's end")
        attempts = self.sql("SELECT attempt, failed_attempts FROM jobs WHERE rerun_of IS NOT NULL")
        self.assertEqual([(2, 0)], [tuple(row) for row in attempts])

    def test_short_jobs_beside_a_rerun_are_answered(self):
        # How long they take is printed and not asserted: docs/adaptive.md has figures.
        jobs = int(os.environ.get("DSLAD_LATENCY_JOBS", 2))
        long = {"task": "qa", "document": STORY, "questions": [f"What is number {n}?" for n in range(30)],
                "options": {"max_tokens": 400}, "upgrade": True}  # fmt: skip
        self.start_daemon("--set", "policy.min_agreement=0")  # else plan 3 would soon be given to no job
        self.start_worker(model=self.model)
        with self.peer() as peer:
            for what in ("alone", "beside a rerun"):
                times, tries = [], 0
                while len(times) < jobs and tries < 3 * jobs:  # a rerun may have ended before it was seen
                    tries += 1
                    if what != "alone":
                        peer.wait(*peer.submit(long))
                        until(lambda: len(self.reruns()) == tries and self.reruns()[-1][1] != "queued", "a rerun's begin")
                    begun = time.monotonic()
                    peer.wait(*peer.submit(generate(prompt=STORY, max_tokens=4)))
                    if what == "alone" or self.reruns()[-1][1] != "succeeded":
                        times.append(1e3 * (time.monotonic() - begun))
                    until(lambda: all(row[1] == "succeeded" for row in self.reruns()), "the rerun's end")
                self.assertTrue(times, "no rerun was seen at work")
                times.sort()
                count = len(times)
                p50, p95, slowest = (times[index] for index in (count // 2, count * 95 // 100, -1))
                print(f"{what}: {count} jobs, p50 {p50:.2f} ms, p95 {p95:.2f} ms, slowest {slowest:.2f} ms", flush=True)

    @unittest.skipUnless((harness.BIN / "dslad-model").exists(), "dslad-model is not built")
    def test_layers_are_distilled_on_the_documents_of_jobs_where_that_was_asked_for(self):
        exam = self.folder / "exam.jsonl"
        exam.write_text(json.dumps({"id": "1", "task": "summarize", "document": STORY, "items": [{"summaries": [STORY]}]}) + "\n")
        steps = ("--variant paper --sequence 64 --batch-tokens 128 --held-out-tokens 100 "
                 "--layerwise-steps 2 --chained-steps 1")
        self.start_daemon()
        self.start_worker("--distil-recent", 1, "--distil-eval", exam, "--distil-layers", 4, "--distil-min-quality", 0,
                          "--idle-memory-mib", 1 << 28, f"--distil-options= {steps}", model=self.model)
        for index in range(9):
            file = self.folder / f"{index}.txt"
            file.write_text(f"{index}. " + f"{STORY} " * 140)
            self.ctl_ok("submit", "summarize", file, "--overflow", "truncate", "--max-tokens", 4, "--wait", "--upgrade")
        chain = self.model / "dsla/chain.json"
        until(lambda: len(json.loads(chain.read_text())["layers"]) == 4, "a fourth layer")
        self.assertEqual({"succeeded"}, {row["state"] for row in self.reruns()}, "they were answered twice")
        self.assertEqual(9, len(self.reruns()))
        until(lambda: len(json.loads(self.ctl_ok("--json", "status"))["workers"][0]["plans"]) == 5, "it is offered")
        kept = sorted(file.read_text() for file in (self.model / "dsla/idle/recent").iterdir())
        self.assertEqual(sorted((self.folder / f"{index}.txt").read_text() for index in range(9)), kept)

    def test_kills_neither_lose_nor_double_a_rerun(self):
        daemon = self.start_daemon()
        worker = self.start_worker(model=self.model)
        jobs = [self.submit("--upgrade", tokens=300) for _ in range(4)]
        self.ctl_ok("wait", "--quiet", *jobs)
        for kill_daemon in (True, False, True):
            self.begin_a_rerun(worker)
            if kill_daemon:
                daemon.kill()
                daemon = self.start_daemon()
                worker.signal(signal.SIGCONT)
            else:
                worker.kill()
                worker = self.start_worker(model=self.model)
        until(lambda: [row[1] for row in self.reruns()] == ["succeeded"] * 4, "all of them")
        self.assertEqual(jobs, sorted(row[0] for row in self.reruns()))
        self.assertEqual({"succeeded": 4}, {state: n for state, n in self.status()["jobs"].items() if n})


if __name__ == "__main__":
    unittest.main()
