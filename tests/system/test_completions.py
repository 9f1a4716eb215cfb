"""Completion in bash: what the programs' own --help says, at each place of a command line."""

import os
import subprocess
import unittest

from harness import BIN, PATIENCE, SOURCE

SCRIPT = """
source "$1/packaging/completions/dslad.bash"
compopt() { :; }  # only a completion that readline asked for may set options
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_dslad "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""


class Completions(unittest.TestCase):
    def complete(self, *words):
        """What could stand in place of the last word."""
        done = subprocess.run(["bash", "-c", SCRIPT, "bash", SOURCE, *words], capture_output=True, text=True,
                              timeout=PATIENCE, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"})
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        return set(done.stdout.split())

    def test_verbs_are_offered_at_their_level(self):
        self.assertEqual({"policy"}, self.complete("dslactl", "po"))
        self.assertEqual({"show", "set", "simulate"}, self.complete("dslactl", "policy", "s"))
        self.assertLessEqual({"submit", "backup", "integrity", "keygen"}, self.complete("dslactl", ""))

    def test_options_are_those_of_the_verb(self):
        self.assertEqual({"--target-drain"}, self.complete("dslactl", "policy", "set", "--t"))
        self.assertEqual({"--state"}, self.complete("dslactl", "list", "--st"))
        self.assertEqual(set(), self.complete("dslactl", "list", "--target"))
        self.assertEqual({"--check-config"}, self.complete("dslad", "--che"))

    def test_an_options_words_are_offered_after_it(self):
        if not (BIN / "dslad-worker").exists():
            self.skipTest("dslad-worker is not built")
        self.assertEqual({"bf16", "f32", "int8", "int4"}, self.complete("dslad-worker", "--dtype", ""))

    def test_where_a_file_belongs_nothing_else_is_offered(self):
        self.assertEqual(set(), self.complete("dslactl", "submit", "summarize", ""))


if __name__ == "__main__":
    unittest.main()
