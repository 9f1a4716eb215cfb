"""dslad-model distil --budget: a chain within a time, stopped, killed and resumed; and what a run is not begun with."""

import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from distil_case import DistilCase, PATIENCE, STORY

SMALL = ("--sequence", 64, "--batch-tokens", 128, "--threads", 1, "--held-out-tokens", 100, "--variant", "paper")


class Budget(DistilCase):
    def setUp(self):
        super().setUp()
        self.out = self.model / "dsla"

    def distil(self, budget, *arguments, exit_status=0, before=()):
        return self.tool("distil", self.model, "--text", self.text, "--budget", budget, *SMALL, *arguments,
                         exit_status=exit_status, before=before)

    def begin(self, budget, *arguments):
        process = subprocess.Popen(self.command("distil", self.model, "--text", self.text, "--budget", budget, *SMALL, *arguments),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def wait_for(self, what):
        deadline = time.monotonic() + PATIENCE
        while not what():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def chain(self):
        return json.loads((self.out / "chain.json").read_text())

    def record(self):
        return json.loads((self.out / "budget.json").read_text())

    def layers(self):
        return len(self.chain()["layers"]) if (self.out / "chain.json").exists() else 0

    def test_a_time_is_enough_to_come_to_plans_that_serve(self):
        begun = time.monotonic()
        done = self.distil("4s", "--json")
        self.assertLess(time.monotonic() - begun, 60)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        plans = [line for line in lines if "layer" in line]
        self.assertGreater(len(plans), 0)
        for at_once in lines[len(plans):]:  # none where the machine is slow
            self.assertEqual(len(plans), at_once["plans"][-1])
            self.assertGreaterEqual(at_once["steps"], 1)
        self.assertIn(f"{len(plans)} of 5 layers", done.stderr)
        self.assertRegex(done.stderr, r"tokens/s, .* left in the stage, .* of the budget")
        chain, record = self.chain(), self.record()
        self.assertEqual("kl", chain["order"]["method"])
        self.assertEqual(chain["order"]["layers"][:len(plans)], [plan["layer"] for plan in plans])
        self.assertEqual(record["decisions"], chain["recipe"]["budget"])
        self.assertEqual({str(plan["layer"]) for plan in plans}, set(record["decisions"]["chained"]))
        self.assertTrue(all(layer["steps"] == 0 or layer["steps"] >= 12 for layer in record["decisions"]["chained"].values()))
        made = self.tool("generate", self.model, "--prompt", "Once", "--max-tokens", 8, "--plan", len(plans), "--json")
        self.assertEqual(8, len(json.loads(made.stdout)["ids"]))

    def test_more_time_later_adds_layers_to_those_that_are_there(self):
        self.more_time("--no-joint-chained")
        self.assertNotIn("joint_chained", self.chain()["layers"][0]["losses"])

    def test_more_time_later_trains_those_that_are_there_with_the_others(self):
        self.more_time()
        layers = self.chain()["layers"]
        for layer in layers:  # none where the machine is slow
            self.assertEqual(len(layers), layer["losses"].get("joint_chained", {"plans": [len(layers)]})["plans"][-1])

    def more_time(self, *how):
        self.distil("3s", "--layers", 2, *how)
        first, used = self.chain(), self.record()["used_seconds"]
        refused = self.distil("3s", *how, exit_status=1)
        self.assertIn("--resume", refused.stderr)
        self.distil("6s", "--resume", *how)
        longer, record = self.chain(), self.record()
        self.assertGreater(len(longer["layers"]), len(first["layers"]))
        kept = [layer if how else layer["layer"] for layer in first["layers"]]
        self.assertEqual(kept, [layer if how else layer["layer"] for layer in longer["layers"][:len(first["layers"])]])
        self.assertGreater(record["used_seconds"], used)
        self.assertEqual(first["recipe"]["budget"]["layerwise"], record["decisions"]["layerwise"])

    def test_time_that_was_used_stays_used(self):
        process = self.begin("1h")
        self.wait_for(lambda: (self.out / "joint.json").exists() and json.loads((self.out / "joint.json").read_text())["done"])
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(1, process.returncode)
        self.assertIn("--resume goes on", errors)
        stopped = self.record()
        self.assertGreater(stopped["used_seconds"], 0)
        # What is left of a budget that was all but used: nothing. A layer that had been begun comes out with the steps it has; else
        # there is none, which is an error that says so.
        begun = stopped["decisions"].get("chained", {})
        ended = self.distil("10ms", "--resume", exit_status=0 if begun else 1)
        self.assertEqual(len(begun), self.layers())
        if not begun:
            self.assertIn("--resume with --budget", ended.stderr)
        again = self.record()
        self.assertGreater(again["used_seconds"], stopped["used_seconds"])
        self.distil(again["used_seconds"] + 3, "--resume")
        self.assertGreater(self.layers(), 0)
        self.assertEqual(stopped["decisions"]["layerwise"]["steps"], self.record()["decisions"]["layerwise"]["steps"])

    def test_killed_in_the_stage_of_all_layers_it_goes_on_by_the_same_decisions(self):
        process = self.begin("1h", "--checkpoint-seconds", 0)
        self.wait_for(lambda: self.layers() == 5 and "joint_chained" in self.record()["decisions"])
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=PATIENCE)
        before, made = self.record(), self.chain()["layers"]
        self.distil(before["used_seconds"] + 3, "--resume")
        after = self.record()["decisions"]["joint_chained"]
        self.assertEqual(before["decisions"]["joint_chained"]["steps"], after["steps"])
        self.assertEqual([layer["layer"] for layer in made], [layer["layer"] for layer in self.chain()["layers"]])
        for state in ("joint.json", "joint_chained.json"):
            self.assertFalse((self.out / state).exists())

    def test_killed_it_goes_on_by_the_same_decisions(self):
        process = self.begin("1h", "--checkpoint-seconds", 0, "--no-joint-chained")
        self.wait_for(lambda: self.layers() >= 1 and len(self.record()["decisions"]["chained"]) >= 2)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=PATIENCE)
        before, made = self.record(), self.chain()["layers"]
        self.distil(before["used_seconds"] + 3, "--resume", "--no-joint-chained")
        after = self.record()
        for layer, decided in before["decisions"]["chained"].items():
            self.assertEqual(decided["steps"], after["decisions"]["chained"][layer]["steps"])
        self.assertEqual(made, self.chain()["layers"][:len(made)])
        self.assertEqual({key: value for key, value in before["decisions"].items() if key != "chained"},
                         {key: value for key, value in after["decisions"].items() if key != "chained"})

    def test_the_decisions_alone_make_the_same_chain(self):
        self.distil("3s")
        made, record = self.chain(), self.record()
        shutil.rmtree(self.out)
        self.out.mkdir()
        (self.out / "budget.json").write_text(json.dumps({**record, "used_seconds": 0}))
        self.distil("1h", "--resume", "--layers", len(made["layers"]))
        self.assertEqual(made, self.chain())

    def test_too_little_time_for_a_layer_is_said_with_what_would_do(self):
        refused = self.distil("1ms", exit_status=1)
        self.assertRegex(refused.stderr, r"too small here: .* give --budget [0-9.]+[sm] or more")
        self.assertEqual([], list(self.out.iterdir()))
        enough = refused.stderr.split("give --budget ")[1].split()[0]
        self.assertGreater(float(enough[:-1]), 0)

    def test_what_does_not_go_together_is_named(self):
        for option, value in (("--layerwise-steps", 3), ("--chained-steps", 3), ("--stage", "chained,steps=3"), ("--order", "kl"),
                              ("--from", self.folder), ("--warm-start", self.folder)):
            refused = self.distil("1s", option, value, exit_status=2)
            self.assertIn(option, refused.stderr)
            self.assertIn("--budget", refused.stderr)
        for wrong in ("soon", "-1", "30m1h", "3x"):
            refused = self.tool("distil", self.model, "--text", self.text, f"--budget={wrong}", exit_status=2)
            self.assertIn(f"'{wrong}' is", refused.stderr)

    def test_a_run_with_a_budget_and_one_without_are_not_mixed(self):
        self.distil("3s", "--layers", 1)
        without = ("distil", self.model, "--text", self.text, *SMALL)
        self.assertIn("was begun with --budget", self.tool(*without, "--resume", exit_status=1).stderr)
        self.assertIn("/seed", self.distil("9s", "--resume", "--seed", 2, exit_status=1).stderr)
        shutil.rmtree(self.out)
        self.tool(*without, "--order", "index", "--layerwise-steps", 2, "--chained-steps", 2, "--layers", 1)
        self.assertIn("was begun without --budget", self.distil("9s", "--resume", exit_status=1).stderr)

    def test_a_full_disk_ends_it_with_an_error_and_leaves_the_plans(self):
        self.distil("3s", "--layers", 1)
        before = (self.out / "chain.json").read_bytes()
        # A limit on the size of files stands for the full disk: writing beyond it fails in the same place.
        script = "import resource, os, sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); " \
                 "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); os.execv(sys.argv[1], sys.argv[1:])"
        full = self.distil("1h", "--resume", exit_status=1, before=("/usr/bin/python3", "-c", script))
        self.assertIn(str(self.out), full.stderr)
        self.assertEqual(before, (self.out / "chain.json").read_bytes())
        self.tool("generate", self.model, "--prompt", "Once", "--max-tokens", 2, "--plan", 1)
        shutil.rmtree(self.out)  # and from the very beginning
        full = self.distil("1h", exit_status=1, before=("/usr/bin/python3", "-c", script))
        self.assertIn(str(self.out), full.stderr)
        self.assertFalse((self.out / "chain.json").exists())

    def test_a_teacher_that_changes_meanwhile_ends_it(self):
        process = self.begin("1h")
        self.wait_for(lambda: self.layers() >= 1)
        made = self.chain()["layers"]
        weights = self.model / "model.safetensors"
        other = self.folder / "other"
        changed = bytearray(weights.read_bytes())
        changed[-1] ^= 1
        other.write_bytes(changed)
        other.rename(weights)
        _, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(1, process.returncode)
        self.assertIn("model.safetensors: the model's file has changed", errors)
        self.assertEqual(made, self.chain()["layers"][:len(made)])
        self.assertIn("other weights", self.distil("2h", "--resume", exit_status=1).stderr)

    def test_texts_that_do_not_fit_are_told_with_their_number(self):
        tasks = self.folder / "tasks.jsonl"
        tasks.write_text("".join(json.dumps({"id": name, "task": "qa", "document": STORY * 9,
                                             "items": [{"question": "Who?", "answers": ["Lily"]}]}) + "\n" for name in "abc"))
        refused = self.tool("distil", self.model, "--text", tasks, *SMALL, exit_status=1)
        self.assertIn("tasks.jsonl holds 0 sequence(s) of at most 64 tokens (3 left out as too long)", refused.stderr)

    def test_a_sequence_beyond_the_context_is_refused(self):
        for verb in ("distil", "sensitivity"):
            refused = self.tool(verb, self.model, "--text", self.text, "--sequence", 513, exit_status=1)
            self.assertIn("--sequence 513 is longer than the model's context, which is 512 tokens", refused.stderr)
        refused = self.tool("distil", self.model, "--text", self.text, *SMALL, "--stage",
                            f"chained,steps=1,sequence=9999,text={self.text}", exit_status=1)
        self.assertIn("--stage: sequence 9999 is longer", refused.stderr)


if __name__ == "__main__":
    unittest.main()
