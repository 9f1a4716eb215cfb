"""dslad-model over a conversion chain: what it shows, that it says where a plan is not distilled, and that programs which
change chain.json wait for each other."""

import contextlib
import fcntl
import json
import pathlib
import shutil
import subprocess
import unittest

import harness


class ModelChain(harness.SystemTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        shutil.copytree(harness.MODEL, self.model)
        subprocess.run([harness.BIN / "make_chain", self.model, "3"], check=True)

    def model_tool(self, *arguments):
        return subprocess.run([str(harness.BIN / "dslad-model"), *arguments], capture_output=True, encoding="utf-8",
                              timeout=harness.PATIENCE, check=True)

    def test_inspect_shows_the_chain(self):
        self.assertIn("3 of 5 layers distilled", self.model_tool("inspect", self.model).stdout)
        chain = json.loads(self.model_tool("inspect", self.model, "--json").stdout)["chain"]
        self.assertEqual([2, 0, 4, 1, 3], [plan["layer"] for plan in chain["plans"]])
        self.assertEqual(0.875, chain["plans"][0]["quality"])
        shutil.rmtree(self.model / "dsla")
        self.assertIsNone(json.loads(self.model_tool("inspect", self.model, "--json").stdout)["chain"])

    def test_generate_says_where_layers_are_not_distilled(self):
        def generate(plan):
            return self.model_tool("generate", self.model, "--prompt", "Once", "--max-tokens", "8", "--plan", plan)

        self.assertEqual("", generate("3").stderr)
        self.assertIn("not distilled (1)", generate("4").stderr)

    def story(self, times):
        text = self.folder / "story.txt"
        text.write_text("Once upon a time there was a girl named Lily. " * times)
        return text

    def change_while_it_waits(self, change, *arguments):
        """Runs dslad-model, which writes chain.json at its end, and has `change` alter what is there before it can.

        It waits for the lock that docs/formats.md describes. Returns the ended process."""
        chain = self.model / "dsla/chain.json"
        temporary = chain.with_name("chain.json.tmp")
        with temporary.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            tool = self.start("dslad-model", harness.BIN / "dslad-model", *arguments)

            def waits():
                self.assertTrue(tool.alive(), f"it did not wait: {tool.text()}")
                with contextlib.suppress(OSError):  # of what it closes just now
                    return temporary in [link.readlink() for link in pathlib.Path(f"/proc/{tool.child.pid}/fd").iterdir()]

            harness.until(waits, "chain.json is about to be written")
            manifest = json.loads(chain.read_text())
            change(manifest)
            json.dump(manifest, file)
            file.flush()
            temporary.rename(chain)
        tool.expected_exit.add(tool.wait())
        self.assertEqual([chain], list(chain.parent.glob("chain.json*")))
        return tool

    def test_scores_are_added_to_what_was_written_meanwhile(self):
        def change(manifest):
            manifest["plans"][0]["scores"]["other.txt"] = {"f1": 0.5}

        tool = self.change_while_it_waits(change, "eval", self.model, self.story(8), "--plans", "1", "--write-chain",
                                          "--threads", "1")
        self.assertEqual(0, tool.wait(), tool.text())
        plans = json.loads((self.model / "dsla/chain.json").read_text())["plans"]
        self.assertEqual([0, 1, 2, 3], [plan["plan"] for plan in plans])
        self.assertEqual({"story.txt", "other.txt"}, set(plans[1]["scores"]))
        self.assertNotEqual(1.5, plans[1]["perplexity_ratio"])

    def test_scores_are_not_given_to_another_chain(self):
        def replace(manifest):
            manifest["layers"][0]["checksum"] = "0" * 32

        tool = self.change_while_it_waits(replace, "eval", self.model, self.story(8), "--plans", "1", "--write-chain",
                                          "--threads", "1")
        self.assertEqual(1, tool.wait(), tool.text())
        self.assertIn("another chain has taken its place", tool.text())
        plans = json.loads((self.model / "dsla/chain.json").read_text())["plans"]
        self.assertEqual(1.5, plans[1]["perplexity_ratio"])

    def test_scores_of_a_plan_that_is_not_distilled_are_refused_before_they_are_measured(self):
        command = [harness.BIN / "dslad-model", "eval", self.model, self.story(1), "--plan", "4", "--write-chain"]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=harness.PATIENCE)
        self.assertEqual(1, done.returncode)
        self.assertIn("3 layers of it are distilled", done.stderr)

    def test_an_order_is_not_written_over_layers_that_were_distilled_meanwhile(self):
        chain = self.model / "dsla/chain.json"
        distilled = json.loads(chain.read_text())
        chain.write_text(json.dumps({**distilled, "layers": [], "plans": []}))
        tool = self.change_while_it_waits(lambda manifest: manifest.update(distilled), "sensitivity", self.model,
                                          "--text", self.story(40), "--order", "entropy-ascending", "--layerwise-steps", "0",
                                          "--sequence", "64", "--held-out-tokens", "100", "--threads", "1")
        self.assertEqual(1, tool.wait(), tool.text())
        self.assertIn("whose order is settled", tool.text())
        self.assertEqual(distilled, json.loads(chain.read_text()))


if __name__ == "__main__":
    unittest.main()
