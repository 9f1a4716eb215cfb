"""Batches of generated logbooks, each with its questions and its summary behind it (../recipe/generator.py)."""

import random
import sys
from pathlib import Path

from tokenizers import Tokenizer

from batch import BatchBuilder

sys.path.append(str(Path(__file__).parent.parent / "recipe"))

from generator import make_logbook  # noqa: E402
from prompts import QUESTION, SUMMARY  # noqa: E402

BOS, EOS = 0, 1


class Logbooks:
    """Every batch is a function of its name. Names of training start with "distil", held-out ones do not."""

    def __init__(self, model_folder):
        self.tokenizer = Tokenizer.from_file(str(Path(model_folder) / "tokenizer.json"))

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def batch(self, name, tokens, documents=1, questions=64, summary=True, document_weight=1.0):
        """Logbooks of about `tokens` tokens. `document_weight`: kl_weight of the documents' rows.

        Returns the batch and the kind of question of each segment (None: a document, "summary").
        """
        builder, kinds = BatchBuilder(), []
        for index in range(documents):
            book = make_logbook(f"{name}-{index}", tokens)
            document = [BOS] + self.encode(book.text)
            parent = builder.add(document, len(document), document_weight)
            kinds.append(None)
            pairs = [(QUESTION.format(question=q.text), q.answer, q.kind) for q in book.questions[:questions]]
            for prompt, answer, kind in pairs + [(SUMMARY, book.summary, "summary")] * summary:
                ids = self.encode(prompt)
                builder.add(ids + self.encode(" " + answer) + [EOS], len(ids), 1.0, parent)
                kinds.append(kind)
        return builder.build(), kinds


def training_batches(books, seed, steps, shortest, longest, rows, **options):
    """Lengths log-uniform between the two; as many documents as make about `rows` rows, questions counted."""
    for step in range(steps):
        length = round(shortest * (longest / shortest) ** random.Random(f"{seed}-{step}").random())
        documents = max(1, round(rows / (length + 25 * min(45, length // 11, options.get("questions", 64)))))
        yield books.batch(f"distil-{seed}-{step}", length, documents, **options)[0]
