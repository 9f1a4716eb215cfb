"""A tiny model, a text to distil it on, and dslad-model as a user runs it."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

MODEL_TOOL = pathlib.Path(os.environ["DSLAD_BIN"]) / "dslad-model"
GOLDEN = pathlib.Path(os.environ["DSLAD_SOURCE"]) / "tests/golden"
PATIENCE = 300.0
STORY = ("Once upon a time, there was a little girl named Lily. She had a big red ball. "
         "One day a dog came and took the ball. Lily was sad. Her mom gave her a new one. ")


class DistilCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.model = self.folder / "model"
        shutil.copytree(GOLDEN / "stories260K", self.model)
        self.text = self.folder / "story.txt"
        self.text.write_text(STORY * 20)

    def command(self, verb, *arguments):
        return [str(part) for part in (MODEL_TOOL, verb, *arguments)]

    def tool(self, verb, *arguments, exit_status=0, before=()):
        done = subprocess.run([*before, *self.command(verb, *arguments)], capture_output=True, encoding="utf-8", timeout=PATIENCE)
        self.assertEqual(exit_status, done.returncode, done.stdout + done.stderr)
        return done
