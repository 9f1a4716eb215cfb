"""Plans in force with real workers: each model has its own, none is beyond a chain, and a killed daemon goes on with
them."""

import json
import shutil
import subprocess
import time
import unittest

import harness
from wire import generate


class Levels(harness.SystemTest):
    def setUp(self):
        super().setUp()
        self.models = {}
        for name in ("stories260K", "babyllama"):
            model = self.models[name] = self.folder / name
            shutil.copytree(harness.SOURCE / "tests/golden" / name, model)
            subprocess.run([harness.BIN / "make_chain", model, "3"], check=True)

    def history(self):
        return [tuple(row) for row in self.sql("SELECT from_plan, to_plan, why FROM policy_events ORDER BY id")]

    def plans(self):
        return {worker["model"]: worker["plan"] for worker in self.status()["workers"]}

    def test_a_backlog_of_one_model_leaves_the_plan_of_another_alone(self):
        self.start_daemon()
        for model in self.models.values():
            self.start_worker(model=model)
        self.ctl_ok("policy", "set", "threshold", "--min-quality", "0.8")
        self.ctl_ok("pause")
        with self.peer() as peer:
            peer.request("submit", {"jobs": [generate(model="babyllama")] * 60})
        harness.until(lambda: self.plans()["babyllama"] == 1, "its queue is long")
        time.sleep(2)
        self.assertEqual({"babyllama": 1, "stories260K": 0}, self.plans())
        layers = json.loads(self.ctl_ok("layers", "--json"))["models"]
        self.assertEqual({"babyllama": 1, "stories260K": 0}, {model["model"]: model["plan"] for model in layers})
        self.assertEqual({"babyllama"}, {row[0] for row in self.sql("SELECT model FROM conversion_events WHERE to_state = 'active'")})
        self.assertEqual([("babyllama", 0, 1)], [tuple(row) for row in self.sql("SELECT model, from_plan, to_plan FROM policy_events")])
        shown = self.ctl_ok("policy", "show")
        self.assertRegex(shown, r"plan of babyllama: 1 in force, since .*: 60 jobs wait")
        self.assertIn("plan of stories260K: 0 in force", shown)

    def test_a_static_plan_beyond_the_chain_is_said_and_not_claimed(self):
        daemon = self.start_daemon()
        self.assertIn("no plan is in force", self.ctl_ok("policy", "explain"))
        self.start_worker(model=self.models["stories260K"])
        said = self.ctl_ok("policy", "set", "static", "--static-plan", "9", "--min-quality", "0.8", "--dwell", "1h")
        note = "plan 9 is static, but no worker of stories260K offers one above 3"
        self.assertIn("note: " + note, said)
        self.assertIn(note, daemon.text())
        harness.until(lambda: self.plans() == {"stories260K": 3}, "as far as the chain goes")
        self.assertIn("plan 3 is in force", self.ctl_ok("policy", "explain"))
        self.assertEqual([(0, 3)], [row[:2] for row in self.history()])
        self.ctl_ok("pause")
        job = json.loads(self.ctl_ok("submit", "generate", "--prompt", "Once", "--max-tokens", "4", "--json"))["id"]

        def explained():
            return self.ctl_ok("policy", "explain", job)

        harness.until(lambda: "would get plan 3" in explained(), "it is decided")
        self.assertIn("plan 3 is the largest that a worker which can take it offers; plan 9 is set", explained())
        self.ctl_ok("resume")
        self.ctl_ok("wait", job)
        self.ctl_ok("policy", "set", "deadline")
        self.assertIn("plan: 3 in force", self.ctl_ok("policy", "show"))

    def test_a_killed_daemon_goes_on_with_the_plan_and_records_when_it_falls(self):
        daemon = self.start_daemon()
        self.start_worker(model=self.models["stories260K"])
        self.ctl_ok("policy", "set", "static", "--static-plan", "3", "--min-quality", "0.8", "--dwell", "5s")
        harness.until(lambda: self.plans() == {"stories260K": 3}, "the plan is taken")
        self.ctl_ok("policy", "set", "deadline", "--dwell", "5s")
        before = json.loads(self.ctl_ok("policy", "show", "--json"))
        daemon.kill()
        self.start_daemon()
        harness.until(lambda: self.plans() == {"stories260K": 3}, "the worker is back")
        after = json.loads(self.ctl_ok("policy", "show", "--json"))
        self.assertEqual([(before[key], 3) for key in ("since_ms", "why")], [(after[key], after["plan"]) for key in ("since_ms", "why")])
        harness.until(lambda: self.plans() == {"stories260K": 0}, "nothing needs the plan")
        self.assertEqual([(0, 3, "it is the static plan"), (3, 0, "for 5 s plan 0 was enough")], self.history())


if __name__ == "__main__":
    unittest.main()
