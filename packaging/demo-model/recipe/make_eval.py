"""Writes logbooks of held-out seeds as files for `dslad-model eval`: the very ones that evaluate.py scores.

    qa-LENGTH.jsonl          every question with its answer and its kind (early, middle, late, overwritten, two-step)
    summarize-LENGTH.jsonl   the same logbooks with their summaries
    text-LENGTH.txt          the same logbooks as plain text, for perplexity and divergence

LENGTH is what the generator aims at; documents of 7600 have about 7,100 tokens. Training uses seeds of another form
(corpus.py), so nothing here was trained on. Standard library only.
"""

import argparse
import json
from pathlib import Path

from generator import make_logbook

LENGTHS = (500, 1000, 2000, 4000, 7600)


def held_out(length, documents):
    """Pairs of an id, which is also the seed, and its logbook."""
    for index in range(documents):
        seed = f"held-out-{length}-{index}"
        yield seed, make_logbook(seed, length)


def qa_line(seed, book):
    items = [
        {"question": q.text, "answers": [q.answer], "kind": q.kind, "evidence": q.evidence} for q in book.questions
    ]
    return {"id": seed, "task": "qa", "document": book.text, "items": items}


def summarize_line(seed, book):
    return {"id": seed, "task": "summarize", "document": book.text, "items": [{"summaries": [book.summary]}]}


def write_length(out, length, documents):
    books = list(held_out(length, documents))
    for name, line in (("qa", qa_line), ("summarize", summarize_line)):
        text = "".join(json.dumps(line(seed, book)) + "\n" for seed, book in books)
        (out / f"{name}-{length}.jsonl").write_text(text, encoding="utf-8")
    (out / f"text-{length}.txt").write_text("\n\n".join(book.text for _, book in books) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder, made when missing")
    parser.add_argument("--documents", type=int, default=16, help="of each length")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for length in args.lengths:
        write_length(args.out, length, args.documents)


if __name__ == "__main__":
    main()
