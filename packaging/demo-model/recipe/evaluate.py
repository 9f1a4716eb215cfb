"""Scores an exported model on logbooks of held-out seeds: greedy decoding, every question on its own."""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import torch
from tokenizers import Tokenizer

from decode import answer_text, continue_with, read_document, would_answer
from generator import make_logbook
from loading import load_exported
from prompts import QUESTION, SUMMARY
from scores import keeper_recall, rouge_l

LENGTHS = (500, 1000, 2000, 4000, 7600)  # aimed at; the widest stays below 8192 with its question
KINDS = ("early", "middle", "late", "overwritten", "two-step")


def score_length(model, tokenizer, length, documents, scores):
    for index in range(documents):
        book = make_logbook(f"held-out-{length}-{index}", length)
        document = read_document(model, tokenizer, book.text)
        scores["tokens"].append(document[1])
        pairs = [(QUESTION.format(question=q.text), q.answer) for q in book.questions]
        for question, right in zip(book.questions, would_answer(model, tokenizer, document, pairs)):
            scores[question.kind].append(right)
            scores["all"].append(right)
        found = answer_text(tokenizer, continue_with(model, tokenizer, document, SUMMARY, 120))
        scores["rouge-l"].append(rouge_l(found, book.summary))
        scores["keeper recall"].append(keeper_recall(found, book.summary))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--documents", type=int, default=16, help="of each length")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_exported(args.model)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    columns = ("all",) + KINDS + ("rouge-l", "keeper recall")
    print("| document tokens | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    table = {}
    for length in args.lengths:
        scores = defaultdict(list)
        score_length(model, tokenizer, length, args.documents, scores)
        mean = {name: sum(values) / len(values) for name, values in scores.items()}
        cells = [f"{mean[c]:.2f} ({len(scores[c])})" for c in columns]
        print(f"| {mean['tokens']:.0f} | " + " | ".join(cells) + " |", flush=True)
        table[length] = {name: [mean[name], len(scores[name])] for name in scores}
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
