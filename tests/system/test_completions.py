"""Completion in bash and zsh: what the programs' own --help says, at each place of a command line."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import BIN, PATIENCE, SOURCE

BASH = """
source "$1/packaging/completions/dslad.bash"
compopt() { :; }  # only a completion that readline asked for may set options
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_dslad "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""

# The start file of an interactive zsh: its first line is LINE, completed as if Tab were pressed; the matches go to OFFERED.
ZSHRC = """
fpath=("$COMPLETIONS" $fpath)
autoload -Uz compinit && compinit -D
compadd() {  # what only asks which words match (-A, -D, -O) adds none
  [[ ${@[1,(i)(-|--)]} == *-[ADO]\\ * ]] && { builtin compadd "$@"; return }
  local -a matches
  builtin compadd -A matches "$@"
  print -rl -- $matches >>$OFFERED
  builtin compadd "$@"
}
zle -C offer list-choices _main_complete
zle-line-init() { BUFFER=$LINE CURSOR=$#LINE; zle offer; exit }
zle -N zle-line-init
"""


class Cases:
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
        self.assertEqual({"int8", "int4"}, self.complete("dslad-worker", "--dtype", "i"))


class Bash(Cases, unittest.TestCase):
    def complete(self, *words):
        """What could stand in place of the last word."""
        done = subprocess.run(["bash", "-c", BASH, "bash", SOURCE, *words], capture_output=True, text=True,
                              timeout=PATIENCE, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"})
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        return set(done.stdout.split())

    def test_where_a_file_belongs_nothing_else_is_offered(self):
        self.assertEqual(set(), self.complete("dslactl", "submit", "summarize", ""))


@unittest.skipUnless(shutil.which("zsh") and shutil.which("script"), "zsh is not installed")
class Zsh(Cases, unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / ".zshrc").write_text(ZSHRC)
        (self.folder / "report.txt").touch()

    def complete(self, *words):
        """What could stand in place of the last word, at a terminal."""
        offered = self.folder / "offered"
        offered.write_text("")
        subprocess.run(["script", "--quiet", "--command", "zsh -d -i", "/dev/null"], cwd=self.folder, timeout=PATIENCE,
                       stdin=subprocess.DEVNULL, capture_output=True, check=True,
                       env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "xterm", "ZDOTDIR": str(self.folder),
                            "COMPLETIONS": str(SOURCE / "packaging/completions"), "OFFERED": str(offered), "LINE": " ".join(words)})
        return set(offered.read_text().split())

    def test_where_a_file_belongs_files_are_offered(self):
        self.assertLessEqual({"report.txt"}, self.complete("dslactl", "submit", "summarize", ""))


if __name__ == "__main__":
    unittest.main()
