"""Trains the demo model; see README.md for the command. Deterministic for a seed, a torch build and one thread."""

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from corpus import ANSWER_WEIGHT, Corpus, collate
from curriculum import CYCLE_ENDS, DECAY_STEPS, TOTAL_STEPS, WARM_UP_STEPS, batch_of, stage_of
from model import Config, Llama
from optimizer import Optimizer


def learning_rate(step):
    peak = stage_of(step).rate
    left = next(end for end in CYCLE_ENDS if step < end) - step
    if left >= DECAY_STEPS:
        return peak * min(1.0, (step + 1) / WARM_UP_STEPS)
    return peak * (0.05 + 0.475 * (1 + math.cos(math.pi * (1 - left / DECAY_STEPS))))


def train_step(model, optimizer, rate, samples, bf16=False):
    inputs, targets, weights = collate(samples)
    wanted = weights > 0
    targets, weights = targets[wanted], weights[wanted]
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model.logits(model(**inputs)[wanted]).float()
    losses = F.cross_entropy(logits, targets, reduction="none")
    ((losses * weights).sum() / weights.sum()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step(rate)
    answer = weights == ANSWER_WEIGHT
    right = (logits.argmax(-1) == targets)[answer].float().mean().item()
    return losses[answer].mean().item(), losses[~answer].mean().item(), right, inputs["ids"].numel()


def save(path, model, optimizer, step, tokens):
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "tokens": tokens}
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="faster where the processor has the instructions")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    corpus = Corpus(args.tokenizer, args.seed)
    model = Llama(Config())
    optimizer = Optimizer(model)
    args.out.mkdir(parents=True, exist_ok=True)
    path, first, tokens = args.out / "checkpoint.pt", 0, 0
    if args.resume:
        state = torch.load(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, tokens = state["step"], state["tokens"]
    began, sums = time.time(), []
    for step in range(first, TOTAL_STEPS):
        rate = learning_rate(step)
        sums.append(train_step(model, optimizer, rate, batch_of(corpus, step), args.bf16))
        tokens += sums[-1][3]
        if (step + 1) % 20 == 0:
            answer, other, right, _ = (sum(column) / len(sums) for column in zip(*sums))
            print(
                f"step {step + 1} tokens {tokens / 1e6:.2f}M seconds {time.time() - began:.0f} answer loss "
                f"{answer:.3f} other {other:.3f} answer tokens right {right:.3f}",
                flush=True,
            )
            sums = []
        if (step + 1) % 100 == 0 or step + 1 == TOTAL_STEPS:
            save(path, model, optimizer, step + 1, tokens)


if __name__ == "__main__":
    main()
