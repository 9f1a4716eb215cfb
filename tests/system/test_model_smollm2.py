"""A real instruct model: greedy tokens of real texts are transformers' own, from its folder; DSLAD_SMOLLM2 names it."""

import json
import os
import pathlib
import subprocess
import unittest

import harness

FOLDER = os.environ.get("DSLAD_SMOLLM2")
GOLDEN = pathlib.Path(harness.SOURCE) / "tests/golden/smollm2/greedy.json"


@unittest.skipUnless(FOLDER, "skipped: no SmolLM2-135M-Instruct (DSLAD_SMOLLM2 is not set)")
class SmolLM2(unittest.TestCase):
    def generate(self, case):
        command = [harness.BIN / "dslad-model", "generate", FOLDER, "--dtype", "f32", "--json", "--prompt", case["prompt"],
                   "--max-tokens", len(case["ids"])]
        return json.loads(subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8", check=True).stdout)

    def test_greedy_tokens_are_those_of_transformers(self):
        for case in json.loads(GOLDEN.read_text())["cases"]:
            with self.subTest(prompt=case["prompt"][:40]):
                made = self.generate(case)
                self.assertEqual(case["prompt_ids"], made["prompt_ids"])
                self.assertEqual(case["ids"], made["ids"])


if __name__ == "__main__":
    unittest.main()
