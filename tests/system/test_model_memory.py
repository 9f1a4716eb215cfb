"""What serving takes of memory: the weights, what a sequence keeps, and little else. Read from a file, weights are not
there twice."""

import json
import math
import resource
import struct
import subprocess
import unittest

import harness

MIB = 1 << 20
CONTEXT = 8192
# Most of it is the embedding, so that reading a long prompt takes seconds.
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
    "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 3, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 500_000, "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True, "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": 2}


def shapes():
    c = CONFIG
    width, inner = c["hidden_size"], c["intermediate_size"]
    q, kv = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    yield "model.embed_tokens.weight", [c["vocab_size"], width]
    yield "model.norm.weight", [width]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", [width]
        yield at + "post_attention_layernorm.weight", [width]
        yield at + "self_attn.q_proj.weight", [q, width]
        yield at + "self_attn.k_proj.weight", [kv, width]
        yield at + "self_attn.v_proj.weight", [kv, width]
        yield at + "self_attn.o_proj.weight", [width, q]
        yield at + "mlp.gate_proj.weight", [inner, width]
        yield at + "mlp.up_proj.weight", [inner, width]
        yield at + "mlp.down_proj.weight", [width, inner]


@unittest.skipIf(harness.SANITIZED, "sanitizers have memory of their own")
class ModelMemory(harness.SystemTest):
    def test_a_long_prompt_takes_what_its_weights_and_its_cache_take(self):
        weights = self.write_model()
        a_token = CONFIG["num_hidden_layers"] * 2 * CONFIG["num_key_value_heads"] * CONFIG["head_dim"] * 2  # bf16
        cache = CONTEXT * a_token
        done = subprocess.run([str(harness.BIN / "dslad-model"), "bench", str(self.folder), "--prompt-tokens",
                               str(CONTEXT - 64), "--batch", "1", "--context", "16", "--steps", "1"], capture_output=True,
                              encoding="utf-8", check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn(f"{CONTEXT - 64} tokens", done.stdout)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        self.assertLess(peak, 1.1 * (weights + cache), f"peak {peak / MIB:.0f} MiB, weights {weights / MIB:.0f} MiB, "
                                                       f"keys and values {cache / MIB:.0f} MiB")

    def write_model(self):
        """Returns the bytes of the weights."""
        (self.folder / "config.json").write_text(json.dumps(CONFIG))
        header, at = {}, 0
        for name, shape in shapes():
            size = 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        pattern = struct.pack("<4H", 0x3C23, 0xBC10, 0xBC32, 0x3C01) * (MIB // 8)  # about a hundredth, of either sign
        with open(self.folder / "model.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for begin in range(0, at, MIB):
                file.write(pattern[: min(MIB, at - begin)])
        return at


if __name__ == "__main__":
    unittest.main()
