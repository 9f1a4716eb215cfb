#!/usr/bin/env -S python3 -B
"""What others' kernels take for the shapes of device_kernels_bench, on the same card: PyTorch's flash attention, chunk_gla of
flash-linear-attention (one state, where dslad has two), and a large product in bf16. Names what is not installed and goes on.

    bench/device_peers.py [--prompts 8192,32768] [--heads 32] [--ours FILE...]

--ours: what device_kernels_bench --json has printed, among other lines; theirs is divided by that.
"""

import argparse
import importlib.metadata
import json
import pathlib
import sys

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


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=lambda text: [int(part) for part in text.split(",")], default=[8192, 32768], help="tokens (8192,32768)")
    parser.add_argument("--heads", type=int, default=32, help="of queries, keys and values (32)")
    parser.add_argument("--ours", nargs="*", default=[], metavar="FILE", help="figures of device_kernels_bench --json")
    options = parser.parse_args(arguments)
    try:
        import torch
    except ImportError as missing:
        print(f"skipped: {missing}")
        return
    if not torch.cuda.is_available():
        print("skipped: torch finds no CUDA device")
        return
    measure_kernels(torch, options, read_ours(options.ours))


if __name__ == "__main__":
    sys.exit(main())
