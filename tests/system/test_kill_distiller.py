"""kill -9 of the daemon, the worker or the child that distils, at random moments, while jobs come in waves and plans change: what
was acknowledged ends exactly once, and layer by layer a chain comes to be on which file and database agree.

DSLAD_KILL_DISTILLER_ROUNDS: how many kills (12); DSLAD_KILL_SEED: which moments."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import time
import unittest

import harness
from distil_case import STORY
from harness import leases_of, until
from load_case import LEASE_MS, LoadTest

ROUNDS = int(os.environ.get("DSLAD_KILL_DISTILLER_ROUNDS", "12"))
LAYERS = 4  # to be distilled
# A window as long as the context: a converted layer is as good as the teacher's from the start.
# A layer takes a second or two, and more kills need more to kill.
STEPS = ("--order index --variant dslad,window=512 --sequence 64 --batch-tokens 128 --held-out-tokens 100 "
         f"--checkpoint-seconds 1 --layerwise-steps {20 * ROUNDS} --chained-steps {6 * ROUNDS}")
NO_LIMIT = 1 << 28  # MiB: the address sanitizer takes more than any memory has


class KillDistiller(LoadTest):
    daemon_options = (*leases_of(LEASE_MS), "--set", "policy.canary_share=0", "--set", "policy.min_agreement=0",
                      "--set", "policy.idle_after_ms=300")

    def make_model(self):
        shutil.copytree(harness.MODEL, self.model)
        self.text, self.exam = self.folder / "story.txt", self.folder / "exam.jsonl"
        self.text.write_text(STORY * 20)
        summaries = ["She had a big red ball and played with it all day."]
        self.exam.write_text(json.dumps({"id": "1", "task": "summarize", "document": "Lily had a red ball.",
                                         "items": [{"summaries": summaries}]}) + "\n")

    def serve(self, ready=True):
        return self.start_worker("--distil-text", self.text, "--distil-eval", self.exam, f"--distil-options= {STEPS}",
                                 "--distil-layers", LAYERS, "--idle-memory-mib", NO_LIMIT, model=self.model, ready=ready)

    def test_a_chain_is_distilled_all_the_same_and_no_job_is_lost(self):
        self.kills = {"daemon": 0, "worker": 0, "distiller": 0}
        self.worker = self.serve()
        self.check_under_load(self.kill_at_random)
        self.report(f"{self.kills}")
        self.assertGreater(self.kills["distiller"], 0)
        if ROUNDS >= 40:
            self.assertGreater(max(self.plans), 0, "no layer came to be amid the kills, so no plan was in danger")

    def kill_at_random(self, dice):
        for _ in range(ROUNDS):
            rest = dice.random() < 0.8
            for submitter in self.submitters:
                submitter.rest.set() if rest else submitter.rest.clear()
            if rest:  # when the queue is empty there is time to distil
                self.await_daemon(self.daemon)
                until(lambda: not any(self.status()["jobs"][state] for state in ("queued", "running")), "no job waits")
                until(lambda: self.distillers() or self.complete(), "someone distils", patience=900)  # later after each kill
            fate = dice.random()
            if fate < 0.6:
                time.sleep(dice.uniform(0.0, 2.5))  # past a checkpoint as often as not: layers come to be amid kills
                self.kill_distiller()
                continue
            time.sleep(dice.uniform(0.0, 1.5))
            if fate < 0.8:
                self.kills["worker"] += 1
                self.worker.kill()
                self.worker = self.serve(ready=False)
            else:
                self.kills["daemon"] += 1
                self.daemon.kill()
                self.daemon = self.start_daemon(ready=False)
        self.await_daemon(self.daemon)
        self.await_worker(self.worker)

    def kill_distiller(self):
        for pid in self.distillers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills["distiller"] += 1

    def distillers(self):
        pids = []
        for file in pathlib.Path(f"/proc/{self.worker.child.pid}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                pids += [int(pid) for pid in file.read_text().split()]
        return pids

    def complete(self):
        with contextlib.suppress(FileNotFoundError):
            return len(json.loads((self.model / "dsla/chain.json").read_text())["layers"]) == LAYERS

    def check_editions(self):
        """A chain is another with each layer that is published, and no job ran on plans of more chains, or of none."""
        self.assertNotIn(None, self.editions())
        self.assertLessEqual(len(self.editions()), LAYERS)

    def check_plans(self):
        """The chain is completed now that nothing is killed."""
        self.set_policy(idle_after_ms=100)
        until(self.complete, f"{LAYERS} layers are distilled", patience=600)
        super().check_plans()


if __name__ == "__main__":
    unittest.main()
