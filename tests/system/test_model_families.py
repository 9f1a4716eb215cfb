"""dslad-model on models of Llama's graph but other architectures: what runs, what is refused, and that it says so."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

MODEL_TOOL = pathlib.Path(os.environ["DSLAD_BIN"]) / "dslad-model"
GOLDEN = pathlib.Path(os.environ["DSLAD_SOURCE"]) / "tests/golden"
PATIENCE = 300.0
STORY = "Once upon a time there was a girl named Lily. She had a big red ball. "


def add_zeros(path, shapes):
    """Adds float32 tensors of zeros to a safetensors file: an 8-byte length, a JSON header, the tensors' bytes."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, tensors = json.loads(data[8 : 8 + length]), data[8 + length :]
    for name, shape in shapes.items():
        count = 4
        for size in shape:
            count *= size
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(tensors), len(tensors) + count]}
        tensors += bytes(count)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + tensors)


def tensors(path):
    """The header of a safetensors file: names, types, shapes."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])


class Families(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def model(self, name, tensors=None, **changes):
        """A trained Llama under another name, with what `changes` says of config.json; None removes a key."""
        model = self.folder / name
        shutil.copytree(GOLDEN / "stories260K", model)
        path = model / "config.json"
        config = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
        add_zeros(model / "model.safetensors", tensors or {})
        return model

    def qwen2(self):
        """As a Qwen2, whose biases are zeros, it must write the Llama's text."""
        widths = {"q": 64, "k": 32, "v": 32}
        biases = {f"model.layers.{layer}.self_attn.{part}_proj.bias": [width]
                  for layer in range(5) for part, width in widths.items()}
        return self.model("qwen2", biases, architectures=["Qwen2ForCausalLM"], model_type="qwen2", attention_bias=None)

    def tool(self, *arguments, exit_status=0):
        done = subprocess.run([str(part) for part in (MODEL_TOOL, *arguments)], capture_output=True, encoding="utf-8",
                              timeout=PATIENCE)
        self.assertEqual(exit_status, done.returncode, done.stdout + done.stderr)
        return done

    def text_of(self, model, *arguments):
        return self.tool("generate", model, "--dtype", "f32", "--prompt", "Once upon", "--max-tokens", 40, *arguments).stdout

    def test_one_graph_under_several_names_gives_one_text(self):
        expected = self.text_of(self.model("llama"))
        self.assertIn("there was", expected)
        self.assertEqual(expected, self.text_of(self.qwen2()))
        mistral = self.model("mistral", architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=4096)
        self.assertEqual(expected, self.text_of(mistral))
        smollm3 = self.model("smollm3", architectures=["SmolLM3ForCausalLM"], model_type="smollm3", no_rope_layers=[1] * 5)
        self.assertEqual(expected, self.text_of(smollm3))
        theta = {"rope_theta": 10000.0, "rope_type": "default"}
        for number, parameters in enumerate((theta, {"full_attention": theta})):
            nested = self.model(f"transformers5-{number}", rope_theta=None, rope_parameters=parameters)
            self.assertEqual(expected, self.text_of(nested))
        scaled = self.model("scaled", rope_parameters=theta | {"rope_type": "linear", "factor": 4.0})
        self.assertNotEqual(expected, self.text_of(scaled))
        narrow = self.model("narrow", architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=3)
        self.assertNotEqual(expected, self.text_of(narrow))

    def test_inspect_names_the_architecture_and_its_parts(self):
        model = self.qwen2()
        self.assertIn("Qwen2ForCausalLM with biases", self.tool("inspect", model).stdout)
        shown = json.loads(self.tool("inspect", model, "--json").stdout)
        self.assertEqual(["Qwen2ForCausalLM", ["biases"], "default"],
                         [shown["architecture"], shown["optional_parts"], shown["rope_type"]])
        yarn = self.model("yarn", rope_scaling={"type": "yarn", "factor": 4.0})
        self.assertIn("2048 tokens, rope theta 10000, yarn by 4", self.tool("inspect", yarn).stdout)

    def test_what_does_not_run_is_refused_by_name(self):
        gemma = self.model("gemma", architectures=["GemmaForCausalLM"], model_type="gemma")
        for verb in (("inspect", gemma), ("generate", gemma, "--prompt", "Once")):
            refused = self.tool(*verb, exit_status=1).stderr
            self.assertIn("GemmaForCausalLM", refused)
            self.assertIn("Qwen3ForCausalLM", refused)
        longrope = self.model("longrope", rope_scaling={"rope_type": "longrope", "short_factor": [1.0] * 4})
        self.assertIn('rope_scaling: rope_type is "longrope"', self.tool("inspect", longrope, exit_status=1).stderr)
        # As transformers 5 may write it, and as it was once read: without any scaling.
        nested = {"full_attention": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0}}
        llama3 = self.model("llama3", rope_theta=None, rope_parameters=nested)
        self.assertIn("full_attention: low_freq_factor is absent", self.tool("inspect", llama3, exit_status=1).stderr)
        missing = self.model("missing", architectures=["Qwen2ForCausalLM"], model_type="qwen2", attention_bias=None)
        self.assertIn("q_proj.bias", self.tool("generate", missing, "--prompt", "Once", exit_status=1).stderr)

    def test_weights_that_the_configuration_has_no_place_for_are_refused(self):
        layer = "model.layers.0.self_attn."
        for number, name in enumerate((layer + "q_norm.weight", layer + "o_proj.bias", "model.layers.4.mlp.down_proj.bias",
                                       "model.norm.bias", "lm_head.bias")):
            model = self.model(f"model-{number}", {name: [64]})
            for verb in (("inspect", model), ("generate", model, "--prompt", "Once")):
                refused = self.tool(*verb, exit_status=1).stderr
                self.assertIn(f'"{name}" has no place in a LlamaForCausalLM', refused)
        spare = {layer + "rotary_emb.inv_freq": [4], "model.layers.5.self_attn.q_proj.bias": [64], "score.weight": [2, 64]}
        self.assertEqual(self.text_of(self.model("llama")), self.text_of(self.model("spare", spare)))

    def test_layers_of_other_families_are_converted(self):
        text = self.folder / "story.txt"
        text.write_text(STORY * 20)
        short = ("--text", text, "--sequence", 64, "--batch-tokens", 128, "--threads", 1, "--variant", "paper")
        for model in (self.qwen2(), self.model("mistral", architectures=["MistralForCausalLM"], model_type="mistral",
                                               sliding_window=20)):
            self.tool("sensitivity", model, *short, "--layerwise-steps", 2)
            done = self.tool("distil", model, *short, "--layers", 2, "--layerwise-steps", 6, "--chained-steps", 4, "--json")
            for line in done.stdout.splitlines():
                kl = json.loads(line)["held_out_kl"]
                self.assertLess(kl[-1], kl[0], model.name)
            measured = json.loads(self.tool("eval", model, text, "--plans", "all", "--json").stdout)
            self.assertEqual([0, 1, 2], [plan["plan"] for plan in measured["plans"]])
            self.assertNotEqual(self.text_of(model), self.text_of(model, "--plan", 2))
        layer = json.loads((self.folder / "qwen2/dsla/chain.json").read_text())["layers"][0]["file"]
        self.assertEqual([64], tensors(self.folder / "qwen2/dsla" / layer)["q_proj.bias"]["shape"])


if __name__ == "__main__":
    unittest.main()
