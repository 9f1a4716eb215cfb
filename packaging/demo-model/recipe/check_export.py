"""Loads an exported model with transformers, compares it with model.py and writes golden.json.

golden.json: prompt_ids and 32 greedy ids, computed by transformers in float32 on the bf16-rounded weights,
without stopping at eos.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from corpus import BOS
from generator import make_logbook
from loading import load_exported
from prompts import QUESTION


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--golden", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    book = make_logbook("golden-0", 400)
    ids = [BOS] + tokenizer.encode(book.text).ids
    ids += tokenizer.encode(QUESTION.format(question=book.questions[0].text)).ids
    prompt = torch.tensor([ids])
    theirs = LlamaForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    ours = load_exported(args.model)
    with torch.inference_mode():
        expected = theirs(prompt).logits
        found = ours.logits(ours(prompt, torch.arange(len(ids))[None], len(ids)))
        greedy = theirs.generate(prompt, max_new_tokens=32, min_new_tokens=32, do_sample=False, eos_token_id=-1)
    difference = (expected - found).abs().max().item()
    print(f"largest difference of logits: {difference:.2e} of {expected.abs().max().item():.1f}")
    golden = {
        "prompt_ids": ids,
        "greedy_ids": greedy[0, len(ids) :].tolist(),
        "first_logits": expected[0, -1, :16].tolist(),
        "dtype": "float32 on bf16 weights",
    }
    args.golden.write_text(json.dumps(golden) + "\n")
    if difference > 1e-3:
        raise SystemExit("model.py and transformers disagree")


if __name__ == "__main__":
    main()
