#!/usr/bin/python3 -B
"""dslad's engine and llama.cpp's on one GGUF file, in turn: prefill and decode in tokens/s, and their ratio round by round.

    bench/beside_llama.py MODEL.gguf --dtype int8 --threads 1 --prompt-tokens 512,4096 --depth 0,4096

`llama-bench` must be on PATH. Formats must correspond for the comparison to mean anything: a BF16 file beside --dtype bf16,
Q8_0 beside int8, Q4_0 beside int4.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

TOOL = pathlib.Path(__file__).resolve().parent.parent / "build/release/bin/dslad-model"
NOT_HERE = 77


def counts(text):
    return [int(part) for part in text.split(",")]


def output_of(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        sys.exit(f"beside_llama: {command[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def dslads(options):
    """Tokens/s by (what, tokens), as theirs()."""
    rates = {}
    for depth in options.depth:
        lines = output_of(options.tool, "bench", options.model, "--json", "--dtype", options.dtype, "--threads", options.threads,
                          "--prompt-tokens", *options.prompt_tokens, "--batch", 1, "--context", max(depth, 1),
                          "--steps", options.decode)  # fmt: skip
        for line in map(json.loads, lines.splitlines()):
            rates[line["measured"], depth if line["measured"] == "decode" else line["tokens"]] = line["tokens_per_s"]
    return rates


def theirs(options):
    """The same of llama-bench: prompts of n_prompt tokens, and n_gen tokens behind n_depth others."""
    rates = {}
    for test in (("-p", ",".join(map(str, options.prompt_tokens)), "-n", 0), ("-p", 0, "-n", options.decode, "-d", ",".join(map(str, options.depth)))):
        for run in json.loads(output_of("llama-bench", "-m", options.model, "-t", options.threads, "-r", 1, "-o", "json", *test)):
            what, tokens = ("decode", run.get("n_depth", 0)) if run["n_gen"] else ("prefill", run["n_prompt"])
            rates[what, tokens] = run["avg_ts"]
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="a GGUF file")
    parser.add_argument("--dtype", choices=("bf16", "f32", "int8", "int4"), default="bf16", help="dslad's weights (bf16)")
    parser.add_argument("--threads", type=int, default=1, help="of both (1)")
    parser.add_argument("--prompt-tokens", type=counts, default=[512], metavar="N,...", help="lengths of prompts (512)")
    parser.add_argument("--depth", type=counts, default=[0], metavar="N,...", help="tokens before those that decode (0)")
    parser.add_argument("--decode", type=int, default=64, metavar="N", help="tokens that are decoded (64)")
    parser.add_argument("--rounds", type=int, default=3, help="of both in turn (3)")
    parser.add_argument("--tool", type=pathlib.Path, default=TOOL, help="dslad-model (build/release/bin)")
    options = parser.parse_args()
    if not options.model.is_file():
        sys.exit(f"beside_llama: there is no file {options.model}")
    if not options.tool.is_file():
        sys.exit(f"beside_llama: there is no {options.tool}; build it, or name it with --tool")
    if shutil.which("llama-bench") is None:
        print("skipped: llama-bench is not on PATH")
        return NOT_HERE
    rounds = [(dslads(options), theirs(options)) for _ in range(options.rounds)]
    print(f"{'':22} {'dslad, tokens/s':>30} {'llama.cpp':>30} {'ratio':>14}")
    for what, tokens in rounds[0][0]:
        both = [(ours[what, tokens], other[what, tokens]) for ours, other in rounds if (what, tokens) in other]
        if not both:
            continue
        ratios = [ours / other for ours, other in both]
        name = f"{what} of {tokens}" if what == "prefill" else f"{what} behind {tokens}"
        print(f"{name:22} {', '.join(f'{ours:.0f}' for ours, _ in both):>30} {', '.join(f'{other:.0f}' for _, other in both):>30} "
              f"{min(ratios):6.2f} to {max(ratios):.2f}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
