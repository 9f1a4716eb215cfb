"""What users have of a model, and what dslad-model makes of it: a folder, a cache of Hugging Face, one GGUF file; whole or
damaged."""

import json
import pathlib
import shutil
import struct
import subprocess
import unittest

import harness

GOLDEN = pathlib.Path(harness.SOURCE) / "tests/golden"
GGUF = GOLDEN / "gguf/stories260K.gguf"
TINY = GOLDEN / "tiny_llama"


def read_safetensors(path):
    """The header, and the data behind it."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), bytearray(content[8 + size :])


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))


class ModelFiles(harness.SystemTest):
    def model_tool(self, *arguments):
        return subprocess.run([str(harness.BIN / "dslad-model"), *map(str, arguments)], capture_output=True,
                              encoding="utf-8", timeout=harness.PATIENCE, check=False)

    def generated(self, model, *arguments):
        done = self.model_tool("generate", model, "--dtype", "f32", "--prompt", "Once upon a time", "--max-tokens", 60,
                               *arguments)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout

    def refusal(self, verb, model, *arguments):
        done = self.model_tool(verb, model, *arguments)
        self.assertEqual(1, done.returncode, done.stdout)
        return done.stderr

    def inspected(self, model):
        done = self.model_tool("inspect", model, "--json")
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout)

    def copy(self, name="model"):
        return shutil.copytree(harness.MODEL, self.folder / name)

    def test_a_gguf_file_is_the_model_it_was_made_from(self):
        of_file, of_folder = self.inspected(GGUF), self.inspected(harness.MODEL)
        for key in ("parameters", "layers", "vocab_size", "context", "tie_word_embeddings", "kv_bytes_per_token"):
            self.assertEqual(of_folder[key], of_file[key], key)
        self.assertLess(of_file["file_bytes"], of_folder["file_bytes"])
        self.assertEqual(self.generated(harness.MODEL), self.generated(GGUF), "8-bit weights already change this text")

    def test_the_companions_of_a_gguf_file_lie_beside_it(self):
        file = shutil.copy(GGUF, self.folder / "stories.gguf")
        plain = self.generated(file)
        (self.folder / "stories.dslad.toml").write_text('[prompt]\ngenerate = "Tom and {prompt}"\n')
        self.assertNotEqual(plain, self.generated(file))
        subprocess.run([harness.BIN / "make_chain", file, "2"], check=True)
        self.assertTrue((self.folder / "stories.dsla/chain.json").exists())
        self.assertEqual(2, self.inspected(file)["chain"]["distilled"])

    def test_a_damaged_gguf_file_is_refused_by_every_verb(self):
        content = GGUF.read_bytes()
        (self.folder / "cut.gguf").write_bytes(content[: len(content) // 2])
        (self.folder / "text.gguf").write_text("<html>not found</html>")
        for verb, more in (("inspect", ()), ("generate", ("--prompt", "Once"))):
            self.assertIn("fetch or convert the file again", self.refusal(verb, self.folder / "cut.gguf", *more))
            self.assertIn("no GGUF file", self.refusal(verb, self.folder / "text.gguf", *more))
        self.assertIn("no model", self.refusal("generate", self.folder / "none.gguf", "--prompt", "Once"))

    def test_a_cache_of_hugging_face_is_a_folder_of_links(self):
        blobs = self.copy("blobs")
        snapshot = self.folder / "hub/models--org--stories/snapshots/0f3c"
        snapshot.mkdir(parents=True)
        for file in blobs.iterdir():
            if file.is_file():
                (snapshot / file.name).symlink_to(file)
        self.assertEqual(self.generated(harness.MODEL), self.generated(snapshot))

    def test_a_weight_that_is_no_number_is_refused(self):
        model = self.copy()
        header, data = read_safetensors(model / "model.safetensors")
        begin, _ = header["model.layers.2.mlp.up_proj.weight"]["data_offsets"]
        for bits, name in ((0x7FC00000, "not a number"), (0xFF800000, "infinite")):
            data[begin + 4 * 70 : begin + 4 * 71] = struct.pack("<I", bits)
            write_safetensors(model / "model.safetensors", header, data)
            error = self.refusal("generate", model, "--prompt", "Once")
            self.assertIn("model.layers.2.mlp.up_proj.weight", error)
            self.assertIn(name, error)
            self.assertIn("row 1, column 6", error)

    def test_inspect_finds_what_loading_would(self):
        """Missing, of another type, named otherwise: the check before serving says what serving says."""

        def changed(change):
            model = self.copy(f"model{len(list(self.folder.iterdir()))}")
            header, data = read_safetensors(model / "model.safetensors")
            change(header)
            write_safetensors(model / "model.safetensors", header, data)
            return model

        def untied(model):
            config = json.loads((model / "config.json").read_text())
            (model / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
            return model

        def as_integers(header):
            for entry in header.values():
                if isinstance(entry, dict) and entry.get("dtype") == "F32":
                    entry["dtype"] = "I32"

        def without_prefix(header):
            for name in [name for name in header if name.startswith("model.")]:
                header[name.removeprefix("model.")] = header.pop(name)

        def without_head(header):
            header["unused"] = header.pop("lm_head.weight", None) or header.pop("model.norm.weight")

        def as_doubles(model):
            header, data = read_safetensors(model / "model.safetensors")
            wide = bytearray()
            for entry in (entry for entry in header.values() if entry.get("dtype") == "F32"):
                begin, end = entry["data_offsets"]
                numbers = struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])
                entry.update(dtype="F64", data_offsets=[len(wide), len(wide) + 2 * (end - begin)])
                wide += struct.pack(f"<{len(numbers)}d", *numbers)
            write_safetensors(model / "model.safetensors", header, wide)
            return model

        doubles = as_doubles(self.copy("doubles"))
        self.assertIn("F64", self.refusal("inspect", doubles))
        for model in (untied(changed(without_head)), changed(as_integers), changed(without_prefix), doubles):
            error = self.refusal("generate", model, "--prompt", "Once")
            self.assertEqual(error, self.refusal("inspect", model))

    def test_an_output_projection_of_its_own_counts(self):
        """config.json says that it is the embedding; the file holds another."""
        model = shutil.copytree(TINY / "mqa_bf16", self.folder / "tied")
        for name in ("tokenizer.model", "tokenizer_config.json"):
            if (harness.MODEL / name).exists():
                shutil.copy(harness.MODEL / name, model / name)
        self.assertTrue(self.inspected(model)["tie_word_embeddings"])
        header, data = read_safetensors(model / "model.safetensors")
        begin, end = header["model.embed_tokens.weight"]["data_offsets"]
        head = dict(header["model.embed_tokens.weight"], data_offsets=[len(data), len(data) + end - begin])
        header["lm_head.weight"] = head
        data += data[begin:end]
        write_safetensors(model / "model.safetensors", header, data)
        self.assertTrue(self.inspected(model)["tie_word_embeddings"], "a copy is no head of its own")
        data[-(end - begin) :] = bytes(end - begin)
        write_safetensors(model / "model.safetensors", header, data)
        self.assertFalse(self.inspected(model)["tie_word_embeddings"])


if __name__ == "__main__":
    unittest.main()
