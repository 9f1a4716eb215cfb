"""English prose of the public domain: part of the tokenizer's and the model's diet.

The books come as one sentence a line with separated punctuation; `tidy` puts that back together. Books
whose text is shipped as a demo document are left out of training.
"""

import json
import os
import re
from pathlib import Path

BOOKS = (
    "austen-emma", "austen-persuasion", "bryant-stories", "burgess-busterbrown", "chesterton-ball",
    "chesterton-brown", "chesterton-thursday", "edgeworth-parents", "melville-moby_dick",
)
HELD_OUT = ("carroll-alice", "austen-sense")


def data_root():
    project = Path(__file__).resolve().parents[3]
    return Path(os.environ.get("DSLAD_DATA", project.parent / "shared" / "data"))


def tidy(line):
    line = re.sub(r"\s*(``|'')\s*$|^\s*(``|'')\s*|\s*(``|'')\s*", " ", line)  # quotation marks, often unpaired
    line = re.sub(r" ([,.;:!?)])", r"\1", line.replace("( ", "("))
    return re.sub(r" (n't|'(?:s|ll|ve|re|d|m)\b)", r"\1", line).strip()


def book_sentences(name):
    text = (data_root() / "text" / "gutenberg" / f"{name}.txt").read_text(encoding="utf-8", errors="replace")
    return [tidy(line) for line in text.split("\n") if line.strip()]


def stories():
    """The stories of FairytaleQA's training split."""
    with open(data_root() / "qa" / "fairytaleqa.train.jsonl", encoding="utf-8") as lines:
        return [" ".join(json.loads(line)["document"].split()) for line in lines]


def load_sentences():
    """Sentences of a length that suits a logbook line."""
    found = [s for name in BOOKS for s in book_sentences(name)]
    found += [s for story in stories() for s in re.split(r"(?<=[.!?])\s+", story)]
    return [s for s in found if 20 <= len(s) <= 160]
