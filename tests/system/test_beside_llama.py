"""bench/beside_llama.py, which compares with llama.cpp: what it makes of llama-bench's figures, and where there is none."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import harness

SOURCE = pathlib.Path(os.environ["DSLAD_SOURCE"])
GGUF = SOURCE / "tests/golden/gguf/stories260K.gguf"

# As llama-bench writes it: an object for each test.
LLAMA_BENCH = """
import json, sys
asked = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert asked["-r"] == "1" and asked["-o"] == "json", asked
tests = [(int(p), int(asked["-n"]), int(d)) for p in asked["-p"].split(",") for d in asked.get("-d", "0").split(",")]
print(json.dumps([{"n_prompt": p, "n_gen": n, "n_depth": d, "avg_ts": 500.0 if p else 50.0} for p, n, d in tests]))
"""


@unittest.skipUnless((harness.BIN / "dslad-model").exists(), "dslad-model is not built")
class BesideLlama(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name)

    def compare(self, *options, path=""):
        command = [sys.executable, "-B", SOURCE / "bench/beside_llama.py", GGUF, "--tool", harness.BIN / "dslad-model", *options]
        return subprocess.run([str(part) for part in command], capture_output=True, encoding="utf-8", env={"PATH": path})

    def test_both_are_measured_in_turn_and_divided(self):
        peer = self.path / "llama-bench"
        peer.write_text(f"#!{sys.executable} -BES\n{LLAMA_BENCH}")
        peer.chmod(0o755)
        done = self.compare("--prompt-tokens", "16,32", "--depth", "0,40", "--decode", 4, "--rounds", 2, path=str(self.path))
        self.assertEqual(0, done.returncode, done.stderr)
        for row in (r"prefill of 16 +\d+, \d+ +500, 500 +[\d.]+ to [\d.]+", r"prefill of 32 .* 500, 500 ",
                    r"decode behind 0 .* 50, 50 ", r"decode behind 40 .* 50, 50 "):  # fmt: skip
            self.assertRegex(done.stdout, row)

    def test_it_says_where_there_is_no_peer_and_no_file(self):
        done = self.compare()
        self.assertEqual((77, "skipped: llama-bench is not on PATH\n"), (done.returncode, done.stdout))
        done = self.compare("--tool", "/none/dslad-model")
        self.assertEqual(1, done.returncode)
        self.assertIn("there is no /none/dslad-model", done.stderr)


if __name__ == "__main__":
    unittest.main()
