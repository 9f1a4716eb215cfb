"""The prompts of a model as dslad-model shows them."""

import json
import subprocess
import unittest

from chat_case import ZEPHYR, ChatCase
from harness import BIN, PATIENCE


class Inspect(ChatCase):
    def inspect(self, model, *options):
        done = subprocess.run([BIN / "dslad-model", "inspect", model, *options], capture_output=True, encoding="utf-8",
                              timeout=PATIENCE)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout

    def test_inspect_shows_the_prompts_token_by_token(self):
        model = self.model_with(ZEPHYR)
        prompt = json.loads(self.inspect(model, "--json", "--tokens"))["prompt"]
        self.assertEqual("Zephyr", prompt["chat_template"]["kind"])
        self.assertEqual("chat template", prompt["qa"]["from"])
        self.assertEqual([{"id": 2, "name": "</s>", "from": ["config", "tokenizer"]}], prompt["ends"])
        tokens = prompt["tokens"]["qa"]

        def text_of(part):
            return "".join(token["text"] for token in tokens if token["of"] == part)

        self.assertEqual("This is the document.", text_of("document").strip())
        self.assertEqual("What is this?", text_of("question").strip())
        self.assertTrue(text_of("template").strip().startswith("<|user|>"), text_of("template"))
        self.assertEqual(["</s>"], [token["text"] for token in tokens if token["special"] and token["id"] != 1])
        text = self.inspect(model, "--tokens")
        self.assertIn("chat template  Zephyr of tokenizer_config.json", text)
        self.assertRegex(text, r"\n +\d+  document +\"")
        (model / "dslad.toml").write_text('[prompt]\nstop = ["x<s>"]\n')
        self.assertRegex(self.inspect(model), r"warning +the stop text")


if __name__ == "__main__":
    unittest.main()
