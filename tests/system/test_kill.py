"""kill -9 of the daemon, the worker or both at random moments under load.

DSLAD_KILL_ROUNDS: how many kills (50); DSLAD_KILL_SEED: which moments."""

import os
import time
import unittest

from load_case import LoadTest

ROUNDS = int(os.environ.get("DSLAD_KILL_ROUNDS", "50"))


class Kill(LoadTest):
    def test_every_acknowledged_job_ends_exactly_once(self):
        self.worker = self.start_worker(model=self.model)
        self.check_under_load(self.kill_at_random)
        counts = self.report(f"{ROUNDS} kills")
        if ROUNDS >= 50:
            self.assertIn("lost", counts, "no kill hit a running job: there was no load")

    def kill_at_random(self, dice):
        """Processes are started again without a pause, so that kills also fall into starting up."""
        for _ in range(ROUNDS):
            time.sleep(dice.uniform(0.0, 1.0))
            fate = dice.random()
            if fate < 0.6:
                self.daemon.kill()
            if fate > 0.4:
                self.worker.kill()
                self.worker = self.start_worker(model=self.model, ready=False)
            if fate < 0.6:
                self.daemon = self.start_daemon(ready=False)
        self.await_daemon(self.daemon)
        self.await_worker(self.worker)


if __name__ == "__main__":
    unittest.main()
