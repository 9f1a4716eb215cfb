"""Serving from a conversion chain: `dslactl plan set` converts for real, and what is damaged is not served."""

import json
import os
import shutil
import subprocess
import unittest

import harness


class Chain(harness.SystemTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        shutil.copytree(harness.MODEL, self.model)
        subprocess.run([harness.BIN / "make_chain", self.model, "3"], check=True)

    def serve(self):
        self.start_daemon()
        return self.start_worker(model=self.model)

    def layers(self):
        [model] = json.loads(self.ctl_ok("layers", "--json"))["models"]
        return model["layers"]

    def story(self):
        """The text and the plan of a short job."""
        submitted = json.loads(self.ctl_ok("submit", "generate", "--prompt", "Once upon a time", "--max-tokens", "32",
                                           "--json"))
        self.ctl_ok("wait", submitted["id"])
        result = json.loads(self.ctl_ok("result", submitted["id"], "--json"))
        return result["outputs"][0]["text"], result["metrics"]["plan"]

    def test_a_plan_converts_the_chains_layers_in_its_order(self):
        self.serve()
        self.assertEqual([2, 0, 4], [layer["layer"] for layer in sorted(self.layers(), key=lambda each: each["order"])
                                     if layer["distilled"]])
        before, plan = self.story()
        self.assertEqual(0, plan)
        self.ctl_ok("plan", "set", "2")
        text, plan = self.story()
        self.assertEqual(2, plan)
        self.assertNotEqual(before, text)
        rows = self.sql("SELECT plan, quality, model, edition FROM job_metrics ORDER BY id")
        self.assertEqual([(0, 1.0, self.model.name), (2, 0.875, self.model.name)], [tuple(row)[:3] for row in rows])
        self.assertEqual({32}, {len(row["edition"]) for row in rows}, "chain.json's digest")
        active = self.sql("SELECT layer, conversion_order, entropy, kl, quality FROM layer_status "
                          "WHERE state = 'active' ORDER BY conversion_order")
        self.assertEqual([(2, 0, 4.0, 0.25, 0.875), (0, 1, 3.0, 0.5, 0.875)], [tuple(row) for row in active])
        table = self.ctl_ok("layers")
        self.assertIn("QUALITY", table)
        self.assertIn("0.875", table)

        refused = self.ctl("plan", "set", "4")
        self.assertNotEqual(0, refused.returncode)
        self.assertIn("layer 1", refused.stderr)
        self.ctl_ok("plan", "set", "0")
        self.assertEqual((before, 0), self.story())

    def test_plans_stop_before_a_damaged_layer(self):
        file = self.model / "dsla/layer-00.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        worker = self.serve()
        self.assertIn("layer-00.safetensors", worker.text())
        self.assertEqual("failed", self.layers()[0]["state"])
        self.ctl_ok("plan", "set", "1")
        refused = self.ctl("plan", "set", "2")
        self.assertIn("layer 0", refused.stderr)
        self.assertIn("checksum", refused.stderr)
        self.assertEqual(1, self.story()[1])

    def test_a_chain_of_other_weights_is_refused_and_the_model_serves_without_it(self):
        manifest = json.loads((self.model / "dsla/chain.json").read_text())
        manifest["teacher"]["digest"] = "0" * 32
        (self.model / "dsla/chain.json").write_text(json.dumps(manifest))
        worker = self.serve()
        self.assertIn("plan 0 only", worker.text())
        self.assertNotEqual(0, self.ctl("plan", "set", "1").returncode)
        self.assertEqual(0, self.story()[1])

    def edition(self):
        """Of the chain that wrote a job's answer."""
        submitted = json.loads(self.ctl_ok("submit", "generate", "--prompt", "Once upon a time", "--max-tokens", "32",
                                           "--json"))
        self.ctl_ok("wait", submitted["id"])
        return json.loads(self.ctl_ok("result", submitted["id"], "--json"))["metrics"]["edition"]

    def make_chain(self, layers):
        subprocess.run([harness.BIN / "make_chain", self.model, str(layers)], check=True)

    def test_a_chain_is_replaced_while_jobs_run(self):
        worker = self.serve()
        self.ctl_ok("plan", "set", "3")
        first = self.edition()
        jobs = [json.loads(self.ctl_ok("submit", "generate", "--prompt", f"Lily saw {n} birds", "--max-tokens", "200",
                                       "--json"))["id"] for n in range(8)]
        self.make_chain(4)
        harness.until(lambda: self.edition() != first, "new jobs get the new chain")
        self.ctl_ok("wait", *jobs)
        self.assertTrue(worker.alive())
        rows = self.sql("SELECT state, plan, edition FROM job_metrics")
        self.assertEqual({("succeeded", 3)}, {(row["state"], row["plan"]) for row in rows})
        self.assertEqual(2, len({row["edition"] for row in rows}))
        self.ctl_ok("plan", "set", "4")

        self.make_chain(2)
        harness.until(lambda: self.story()[1] == 2, "the largest plan that the chain has is in force")
        self.assertIn("the new chain has no plan 4", worker.text())

    def test_an_imported_chain_is_taken_up_while_it_serves(self):
        if not (harness.BIN / "dslad-model").exists():
            self.skipTest("dslad-model is not built")
        tool = [harness.BIN / "dslad-model", "chain"]
        subprocess.run([*tool, "export", self.model, self.folder / "chain.tar"], check=True, capture_output=True)
        shutil.rmtree(self.model / "dsla")
        self.serve()
        self.assertEqual([0], [plan["plan"] for plan in self.status()["workers"][0]["plans"]])
        subprocess.run([*tool, "import", self.model, self.folder / "chain.tar"], check=True, capture_output=True)
        harness.until(lambda: [0, 1, 2, 3] == [plan["plan"] for plan in self.status()["workers"][0]["plans"]],
                      "all its plans can be given")

    def test_a_damaged_replacement_leaves_the_old_chain_in_force(self):
        worker = self.serve()
        self.ctl_ok("plan", "set", "2")
        before = self.story(), self.edition()
        whole = self.folder / "whole"
        shutil.copytree(self.model / "dsla", whole)
        other = self.folder / "other"
        shutil.copytree(harness.MODEL, other)
        subprocess.run([harness.BIN / "make_chain", other, "4"], check=True)
        file = other / "dsla/layer-01.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        for file in sorted((other / "dsla").glob("*.safetensors")):
            os.replace(file, self.model / "dsla" / file.name)
        os.replace(other / "dsla/chain.json", self.model / "dsla/chain.json")
        harness.until(lambda: "stays in force" in worker.text(), "a warning")
        self.assertIn("layer-01.safetensors", worker.text())
        self.assertEqual(before, (self.story(), self.edition()))
        self.assertEqual(1, worker.text().count("stays in force"))
        for verb in (["status"], ["policy", "show"]):
            note = next(line for line in self.ctl_ok(*verb).splitlines() if "layer-01.safetensors" in line)
            self.assertIn("stays in force", note)
        for file in sorted(whole.glob("*"), key=lambda file: file.suffix == ".json"):
            os.replace(file, self.model / "dsla" / file.name)
        harness.until(lambda: "note:" not in self.ctl_ok("status"), "the chain that serves lies there again")
        self.assertEqual(before, (self.story(), self.edition()))

    def test_a_job_whose_plan_gives_no_numbers_is_answered_by_plan_0_and_the_layer_is_taken_out(self):
        subprocess.run([harness.BIN / "make_chain", self.model, "3", "0"], check=True)
        worker = self.serve()
        before = self.story()
        self.ctl_ok("plan", "set", "2")
        self.assertEqual(before, self.story(), "as plan 0 answers")
        attempts = self.sql("SELECT outcome, error_code, error_message FROM job_attempts WHERE id = 2 ORDER BY attempt")
        self.assertEqual([("failed", "corrupt"), ("succeeded", None)], [tuple(row)[:2] for row in attempts])
        self.assertIn("plan 2", attempts[0]["error_message"])
        self.assertEqual((0,), tuple(self.sql("SELECT failed_attempts FROM jobs WHERE id = 2")[0]))
        harness.until(lambda: self.layers()[0]["state"] == "failed", "the layer is taken out")
        [event] = self.sql("SELECT layer, reason, plan FROM conversion_events WHERE to_state = 'failed'")
        self.assertEqual((0, 1), (event["layer"], event["plan"]))
        self.assertIn("logits are not finite", event["reason"])
        [status] = self.sql("SELECT state, reason FROM layer_status WHERE layer = 0")
        self.assertEqual(("failed", event["reason"]), tuple(status))
        self.assertIn("failed", self.ctl_ok("layers"))
        self.assertEqual(1, worker.text().count("plans from 2 on are out of use"))
        self.assertEqual(1, self.story()[1], "the largest that is left")
        refused = self.ctl("plan", "set", "3")
        self.assertIn("out of use", refused.stderr)

        self.make_chain(3)
        harness.until(lambda: self.layers()[0]["distilled"], "the new chain's layers")
        self.ctl_ok("plan", "set", "3")
        self.assertEqual(3, self.story()[1])
        self.assertEqual({"succeeded"}, {row["state"] for row in self.sql("SELECT state FROM job_status")})


if __name__ == "__main__":
    unittest.main()
