"""bench/device_peers.py, which compares with others' kernels on a GPU: what it makes of our figures, and of what is missing."""

import contextlib
import importlib.util
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

PROGRAM = pathlib.Path(os.environ["DSLAD_SOURCE"]) / "bench/device_peers.py"

# As gpu.sh's log has it: words, figures, one that is none, and the end of a run that was cut off.
LOG = """== ours device_kernels_bench --json (3 s in)
{"device":"a card","copies":3000,"products":500.0}
{"what":"attention, prompt of 8192","ms":4.0000,"ours":300.000,"other":500.000,"unit":"TFLOP/s"}
{"what":"DSLA, prompt of 8192, and attention's","ms":2.0000,"ours":4.000,"other":2.000,"unit":"ms"}
{"what":"attention, prompt of 32768","ms":nan,"ours":nan,"other":500.000,"unit":"TFLOP/s"}
8192
{"what":"DSLA, prompt of 32768, and attention's","ms":8.00"""


def program():
    spec = importlib.util.spec_from_file_location("device_peers", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class DevicePeers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = pathlib.Path(folder.name) / "measure.log"
        self.log.write_text(LOG)
        self.peers = program()

    def test_theirs_are_divided_by_ours_and_what_is_missing_is_named(self):
        def flash(torch, tokens, heads):
            return "flash", 6.0

        def gla(torch, tokens, heads):
            raise ModuleNotFoundError("No module named 'fla'", name="fla")

        def broken(torch, tokens, heads):
            raise RuntimeError("no room\nfor it")

        peers = {flash: "attention, prompt of {}", gla: "DSLA, prompt of {}, and attention's", broken: "{}"}
        said = io.StringIO()
        with mock.patch.multiple(self.peers, product=lambda torch: 750.0, PEERS=peers), contextlib.redirect_stdout(said):
            self.peers.measure_kernels(types.SimpleNamespace(__version__="9"), types.SimpleNamespace(prompts=[8192, 32768], heads=32),
                                       self.peers.read_ours([self.log]))  # fmt: skip
        self.assertEqual(["torch 9, product of 8192^3 in bf16: 750 TFLOP/s, 1.50 times ours (500)",
                          "flash, prompt of 8192: 6.000 ms, 1.50 times ours (4.000 ms)",
                          "flash, prompt of 32768: 6.000 ms",
                          "skipped: no fla (gla)",
                          "broken, prompt of 8192: RuntimeError: no room",
                          "broken, prompt of 32768: RuntimeError: no room"], said.getvalue().splitlines())  # fmt: skip

    def test_without_torch_or_a_device_it_says_so(self):
        done = subprocess.run([sys.executable, "-B", PROGRAM, "--ours", self.log], capture_output=True, encoding="utf-8",
                              env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})  # fmt: skip
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertRegex(done.stdout, "^skipped: (No module named 'torch'|torch finds no CUDA device)\n$")

    def test_a_hybrid_answers_and_says_what_computed_it(self):
        try:
            import torch
            from transformers import ZambaConfig
        except ImportError as missing:
            self.skipTest(f"skipped: {missing}")
        tiny = ZambaConfig(vocab_size=97, hidden_size=32, attention_hidden_size=64, attention_head_dim=16, intermediate_size=48,
                           num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=4, mamba_dt_rank=4, mamba_d_state=4,
                           attn_layer_period=3, attn_layer_offset=1, eos_token_id=2)  # fmt: skip
        options = types.SimpleNamespace(jobs=2, document=24, answer=3)
        what = "2 jobs of 24 + 3 tokens, 75% DSLA"
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            self.peers.measure_hybrid(torch, tiny, "cpu", options, {("7B", what): {"what": what, "ours": 1e6}})
        self.assertRegex(said.getvalue(), r"^Zamba of 0.00 B parameters, transformers \S+, torch \S+, Mamba by PyTorch token by token, "
                                          r"attention by .+: 2 jobs of 24 \+ 3 tokens: [\d.]+ tokens/s\n"
                                          r"ours, 7B, 75% DSLA: 1000000.0 tokens/s, [\d.]+ times theirs\n$")  # fmt: skip


if __name__ == "__main__":
    unittest.main()
