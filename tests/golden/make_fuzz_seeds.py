#!/usr/bin/env python3
"""Makes what fuzzers start from where no person writes such files: chain_file/, the chain of a model as small as one can
be as a tar, plain and compressed, and files/log, SQLite's log behind the letter of its reader. Takes the folder of the
built programs."""

import json
import math
import pathlib
import sqlite3
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
CONFIG = {  # as tests/fuzz/fuzz_chain_file.cc has it
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 8,
    "num_hidden_layers": 5, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 8,
    "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": True,
}
NORMS = ("input_layernorm", "post_attention_layernorm")
PROJECTIONS = tuple(f"self_attn.{x}_proj" for x in "qkvo") + tuple(f"mlp.{x}_proj" for x in ("gate", "up", "down"))


def make_model(folder):
    shapes = {"model.embed_tokens": [8, 8], "model.norm": [8]}
    for layer in range(CONFIG["num_hidden_layers"]):
        shapes |= {f"model.layers.{layer}.{name}": [8] for name in NORMS}
        shapes |= {f"model.layers.{layer}.{name}": [8, 8] for name in PROJECTIONS}
    header, values = {}, []
    for name, shape in shapes.items():
        begin = 4 * len(values)
        values += [i % 7 / 8 for i in range(math.prod(shape))]
        header[f"{name}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, 4 * len(values)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + struct.pack(f"<{len(values)}f", *values))


def make_chain_file(programs, folder):
    make_model(folder)
    subprocess.run([programs / "make_chain", folder, "2"], check=True)
    tar = HERE / "chain_file/chain.tar"
    tar.parent.mkdir(exist_ok=True)
    subprocess.run([programs / "dslad-model", "chain", "export", folder, tar], check=True)
    for suffix, command in (("gz", ["gzip", "-9nc"]), ("xz", ["xz", "-9c"]), ("zst", ["zstd", "-19qc"])):
        with open(f"{tar}.{suffix}", "wb") as compressed:
            subprocess.run([*command, tar], stdout=compressed, check=True)


def make_log(folder):
    db = sqlite3.connect(folder / "some.db", isolation_level=None)
    for statement in ("PRAGMA page_size = 512", "PRAGMA journal_mode = WAL", "CREATE TABLE jobs (prompt)",
                      *4 * ["INSERT INTO jobs VALUES (hex(randomblob(100)))"]):
        db.execute(statement)
    (HERE / "files/log").write_bytes(b"l" + (folder / "some.db-wal").read_bytes())
    db.close()


for make in (lambda folder: make_chain_file(pathlib.Path(sys.argv[1]), folder), make_log):
    with tempfile.TemporaryDirectory() as path:
        make(pathlib.Path(path))
