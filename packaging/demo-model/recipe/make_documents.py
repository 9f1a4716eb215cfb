"""Writes ../documents: held-out logbooks, two texts of the public domain, and jobs.json with gold answers.

The gold answers of the story are FairytaleQA's (dev split, never trained on); those of the Alice chapter and
both prose summaries were written for this file.
"""

import argparse
import json
import re
from pathlib import Path

import prose
from generator import make_logbook

LOGBOOKS = (("logbook-1", 1000), ("logbook-2", 3000), ("logbook-3", 6000))
STORY_ANSWERS = (
    "the Giant's garden", "run away", "so glad", "a little boy", "knocked down the wall",
)
STORY_SUMMARY = (
    "A selfish giant walls in his garden, and spring stays away until the children creep back in; "
    "he pulls the wall down, and the small boy he helped leads him to Paradise at the end of his life."
)
ALICE_QUESTIONS = (
    ("What was on the label of the jar?", "ORANGE MARMALADE"),
    ("Who was Dinah?", "the cat"),
    ("What color were the eyes of the White Rabbit?", "pink"),
)
ALICE_SUMMARY = (
    "Alice follows a White Rabbit down a deep rabbit-hole into a hall of locked doors, "
    "where a drink makes her small and she eats a cake in the hope of growing again."
)


def logbook_jobs(name, book):
    """The summary and two questions of each kind, as far as there are so many."""
    chosen = []
    for kind in ("early", "middle", "late", "overwritten", "two-step"):
        chosen += [q for q in book.questions if q.kind == kind][:2]
    questions = [{"question": q.text, "answer": q.answer, "kind": q.kind} for q in chosen]
    return [
        {"task": "qa", "document": name, "questions": questions},
        {"task": "summarize", "document": name, "summary": book.summary},
    ]


def prose_jobs(name, questions, summary):
    return [
        {"task": "qa", "document": name, "questions": [{"question": q, "answer": a} for q, a in questions]},
        {"task": "summarize", "document": name, "summary": summary},
    ]


def held_out_prose():
    """Routine lines that are sentences of a book left out of training."""
    sentences = [s for s in prose.book_sentences("austen-sense") if 20 <= len(s) <= 160]
    return lambda rng, stations: rng.choice(sentences)


def load_story():
    path = prose.data_root() / "qa" / "fairytaleqa.dev.jsonl"
    story = next(d for d in map(json.loads, path.open(encoding="utf-8")) if d["id"].endswith("/the-selfish-giant"))
    questions = [(item["question"], item["answers"][0]) for item in story["items"]]
    return story["document"].strip(), [pair for pair in questions if pair[1] in STORY_ANSWERS]


def load_alice():
    """Chapter one, without the source's quotation marks, which are partly lost."""
    sentences = prose.book_sentences("carroll-alice")
    end = next(i for i, s in enumerate(sentences) if "CHAPTER II." in s)
    unquoted = [re.sub(r"(?<!\w)['`]\s?", "", sentence) for sentence in sentences[1:end]]
    return "\n".join(prose.tidy(" ".join(sentence.split())) for sentence in unquoted)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "documents")
    out = parser.parse_args().out
    texts, jobs = {}, []
    for name, length in LOGBOOKS:
        book = make_logbook(f"demo-{name}", length)
        texts[f"{name}.txt"] = book.text
        jobs += logbook_jobs(f"{name}.txt", book)
    book = make_logbook("demo-logbook-4", 3000, held_out_prose())
    texts["logbook-4.txt"] = book.text
    jobs += logbook_jobs("logbook-4.txt", book)
    texts["selfish-giant.txt"], questions = load_story()
    jobs += prose_jobs("selfish-giant.txt", questions, STORY_SUMMARY)
    texts["alice-1.txt"] = load_alice()
    jobs += prose_jobs("alice-1.txt", ALICE_QUESTIONS, ALICE_SUMMARY)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    (out / "jobs.json").write_text(json.dumps(jobs, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
