#!/usr/bin/python3 -B
"""What others' kernels take for the shapes of device_kernels_bench, on the same card: PyTorch's flash attention, and
chunk_gla of flash-linear-attention (one state, where dslad has two). Names what is not installed and goes on.

    bench/device_peers.py [--prompts 8192,32768] [--heads 32]
"""

import argparse
import importlib.metadata
import sys

CHANNELS = 128


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", default="8192,32768", help="tokens (8192,32768)")
    parser.add_argument("--heads", type=int, default=32, help="of queries, keys and values (32)")
    options = parser.parse_args()
    try:
        import torch
    except ImportError as missing:
        print(f"skipped: {missing}")
        return
    if not torch.cuda.is_available():
        print("skipped: torch finds no CUDA device")
        return
    for peer in (flash_attention, chunk_gla):
        for tokens in map(int, options.prompts.split(",")):
            try:
                name, ms = peer(torch, tokens, options.heads)
            except Exception as error:  # whatever a peer's own code does, the others are measured
                print(f"{peer.__name__}, prompt of {tokens}: {type(error).__name__}: {str(error).splitlines()[0]}")
            else:
                print(f"{name}, prompt of {tokens}: {ms:.3f} ms")


if __name__ == "__main__":
    sys.exit(main())
