"""dslad-model over a conversion chain: what it shows, and that it says where a plan is not distilled."""

import json
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


if __name__ == "__main__":
    unittest.main()
