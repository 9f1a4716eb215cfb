#!/usr/bin/env -S python3 -B
"""What others' kernels take for the shapes of device_kernels_bench, on the same card: PyTorch's flash attention, chunk_gla of
flash-linear-attention (one state, where dslad has two), and a large product in bf16. Names what is not installed and goes on.

    bench/device_peers.py [--prompts 8192,32768] [--heads 32] [--ours FILE...]
    bench/device_peers.py --hybrid [--jobs 8] [--document 1024] [--answer 64] [--ours FILE...]

--hybrid: whole jobs of a hybrid model instead, of Zamba-7B's shape with random weights (arXiv 2405.16712, the paper's peer), by
transformers. Without the package mamba_ssm its Mamba layers take a prompt token by token, which is no measure of the model; so
what computed them stands in the line. --ours: what device_kernels_bench or device_bench has printed with --json, among other
lines; theirs is divided by that.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import pathlib
import re
import sys
import time

CHANNELS = 128
WIDTH = 8192  # of the product


def read_ours(files):
    """Each line of JSON, by what it measured; of a device's own line by "device"."""
    ours = {}
    for file in files:
        for line in pathlib.Path(file).read_text().splitlines():
            try:
                figure = json.loads(line)
            except ValueError:  # a log's own words, a run that was cut off, a time that is none
                continue
            if isinstance(figure, dict):
                ours["device" if "device" in figure else (figure.get("model"), figure.get("what"))] = figure
    return ours


def best_ms(torch, call, rounds=5, calls=8):
    """Milliseconds of one call, in the best round."""
    call()
    best = float("inf")
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(calls):
            call()
        end.record()
        torch.cuda.synchronize()
        best = min(best, begin.elapsed_time(end) / calls)
    return best


def flash_attention(torch, tokens, heads):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v = (torch.randn(1, heads, tokens, CHANNELS, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        attend = torch.nn.functional.scaled_dot_product_attention
        return f"torch {torch.__version__}, flash attention", best_ms(torch, lambda: attend(q, k, v, is_causal=True))


def chunk_gla(torch, tokens, heads):
    from fla.ops.gla import chunk_gla as gla

    q, k, v = (torch.randn(1, tokens, heads, CHANNELS, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    gates = torch.nn.functional.logsigmoid(torch.randn(1, tokens, heads, CHANNELS, device="cuda")) / 16
    version = importlib.metadata.version("flash-linear-attention")
    return f"flash-linear-attention {version}, chunk_gla", best_ms(torch, lambda: gla(q, k, v, gates, output_final_state=True))


def product(torch):
    """TFLOP/s."""
    x, w = (torch.randn(WIDTH, WIDTH, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * WIDTH**3 / best_ms(torch, lambda: x @ w) / 1e9


PEERS = {flash_attention: "attention, prompt of {}", chunk_gla: "DSLA, prompt of {}, and attention's"}  # and what is ours


def times_ours(ms, figure):
    """Above 1 where ours is faster."""
    return f", {ms / figure['ms']:.2f} times ours ({figure['ms']:.3f} ms)" if figure else ""


def measure_kernels(torch, options, ours):
    rate = product(torch)
    here = ours.get("device")
    print(f"torch {torch.__version__}, product of {WIDTH}^3 in bf16: {rate:.0f} TFLOP/s"
          + (f", {rate / here['products']:.2f} times ours ({here['products']:.0f})" if here and here["products"] else ""), flush=True)  # fmt: skip
    for peer, what in PEERS.items():
        for tokens in options.prompts:
            try:
                name, ms = peer(torch, tokens, options.heads)
            except ModuleNotFoundError as missing:
                print(f"skipped: no {missing.name} ({peer.__name__})", flush=True)
                break
            except Exception as error:  # whatever a peer's own code does, the others are measured
                print(f"{peer.__name__}, prompt of {tokens}: {type(error).__name__}: {str(error).partition(chr(10))[0]}", flush=True)
            else:
                print(f"{name}, prompt of {tokens}: {ms:.3f} ms{times_ours(ms, ours.get((None, what.format(tokens))))}", flush=True)


class Hybrid:
    """A model of transformers' ZambaConfig with random weights, in bf16; its defaults are Zamba-7B's."""

    def __init__(self, torch, config, device):
        from transformers import ZambaForCausalLM

        # Of older versions Zamba refuses to run where these are asked for and missing; newer ones do not ask.
        config.use_mamba_kernels = all(importlib.util.find_spec(name) for name in ("mamba_ssm", "causal_conv1d"))
        self.torch, self.device = torch, device
        usual = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            with torch.device(device):
                self.model = ZambaForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(usual)
        self.parameters = sum(weight.numel() for weight in self.model.parameters())

    def run(self, jobs, document, answer):
        """Seconds for answers to as many documents at once."""
        ids = self.torch.randint(3, self.model.config.vocab_size, (jobs, document), device=self.device)
        settled = self.torch.cuda.synchronize if self.device == "cuda" else lambda: None
        settled()
        start = time.perf_counter()
        answers = self.model.generate(ids, attention_mask=self.torch.ones_like(ids), do_sample=False, pad_token_id=0,
                                      min_new_tokens=answer, max_new_tokens=answer)  # fmt: skip
        settled()
        seconds = time.perf_counter() - start
        assert answers.shape == (jobs, document + answer), answers.shape
        return seconds

    def computed_by(self):
        """What a short run has called. A profiler is not in every sandbox."""
        try:
            with self.torch.profiler.profile() as seen:
                self.run(1, 16, 2)
            names = {event.key for event in seen.key_averages()}
        except Exception as error:
            return f"by what is unknown ({type(error).__name__})"
        mamba = "mamba_ssm's kernels" if any("selective_scan" in name for name in names) else "PyTorch token by token"
        attention = sorted({found[1] for name in names if (found := re.match(r"aten::_scaled_dot_product_(\w+)", name))})
        return f"Mamba by {mamba}, attention by {' and '.join(attention) or 'products and softmax'}"


def measure_hybrid(torch, config, device, options, ours):
    import transformers

    hybrid = Hybrid(torch, config, device)
    hybrid.run(options.jobs, 16, 2)
    rate = options.jobs * (options.document + options.answer) / hybrid.run(options.jobs, options.document, options.answer)
    jobs = f"{options.jobs} jobs of {options.document} + {options.answer} tokens"
    print(f"Zamba of {hybrid.parameters / 1e9:.2f} B parameters, transformers {transformers.__version__}, torch {torch.__version__}, "
          f"{hybrid.computed_by()}: {jobs}: {rate:.1f} tokens/s", flush=True)  # fmt: skip
    for share in (0, 75):
        figure = ours.get(("7B", f"{jobs}, {share}% DSLA"))
        if figure:
            print(f"ours, 7B, {share}% DSLA: {figure['ours']:.1f} tokens/s, {figure['ours'] / rate:.2f} times theirs", flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=lambda text: [int(part) for part in text.split(",")], default=[8192, 32768], help="tokens (8192,32768)")
    parser.add_argument("--heads", type=int, default=32, help="of queries, keys and values (32)")
    parser.add_argument("--hybrid", action="store_true", help="whole jobs of a hybrid model")
    parser.add_argument("--jobs", type=int, default=8, help="of these, at once (8)")
    parser.add_argument("--document", type=int, default=1024, help="tokens of each (1024)")
    parser.add_argument("--answer", type=int, default=64, help="tokens (64)")
    parser.add_argument("--ours", nargs="*", default=[], metavar="FILE", help="our figures, as JSON")
    options = parser.parse_args(arguments)
    try:
        import torch

        if options.hybrid:
            from transformers import ZambaConfig
    except ImportError as missing:
        print(f"skipped: {missing}")
        return
    if not torch.cuda.is_available():
        print("skipped: torch finds no CUDA device")
        return
    if options.hybrid:
        measure_hybrid(torch, ZambaConfig(), "cuda", options, read_ours(options.ours))
    else:
        measure_kernels(torch, options, read_ours(options.ours))


if __name__ == "__main__":
    sys.exit(main())
