"""Writes logbooks with questions and summaries for distilling the demo model's layers (`dslad-model distil --text`).

    python3 make_chain_data.py OUT --documents 400 --shortest 200 --longest 3000

OUT/train.qa.jsonl and OUT/train.summarize.jsonl: one logbook a line, lengths spread evenly over their logarithm, longest
last. Seeds differ from those of training the model and of evaluating it. Standard library only.
"""

import argparse
import json
from pathlib import Path

from generator import make_logbook


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--shortest", type=int, default=200, help="tokens, about")
    parser.add_argument("--longest", type=int, default=3000, help="tokens, about")
    parser.add_argument("--seed", default="chain")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "train.qa.jsonl", "w") as qa, open(args.out / "train.summarize.jsonl", "w") as summaries:
        for index in range(args.documents):
            share = index / max(1, args.documents - 1)
            tokens = round(args.shortest * (args.longest / args.shortest) ** share)
            name = f"{args.seed}-{index}"
            book = make_logbook(name, tokens)
            questions = [{"question": q.text, "answers": [q.answer], "kind": q.kind} for q in book.questions]
            line = {"id": name, "task": "qa", "document": book.text, "items": questions}
            qa.write(json.dumps(line) + "\n")
            # A line of its own: a sequence asks either questions or for a summary.
            line = {"id": name, "task": "summarize", "document": book.text, "items": [{"summaries": [book.summary]}]}
            summaries.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
