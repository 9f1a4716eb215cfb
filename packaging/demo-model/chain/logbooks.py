"""Batches of generated logbooks, each with its questions and its summary behind it (../recipe/generator.py)."""

import multiprocessing
import random
import sys
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
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


@dataclass(frozen=True)
class TrainingData:
    """A stage's batches: lengths log-uniform between the two, as many documents as make about `rows` rows,
    questions counted."""

    seed: str
    steps: int
    shortest: int
    longest: int
    rows: int
    grow: float = 0.0  # over this share of the steps the longest document grows from twice the shortest
    document_weight: float = 1.0
    summary: bool = True
    window: int = 0  # whose layout is prepared too

    def make(self, books, step):
        longest = self.longest
        if step < self.grow * self.steps:
            least = min(2 * self.shortest, longest)
            longest = least * (longest / least) ** (step / (self.grow * self.steps))
        length = round(self.shortest * (longest / self.shortest) ** random.Random(f"{self.seed}-{step}").random())
        documents = max(1, round(self.rows / (length + 25 * min(45, length // 11))))
        batch, _ = books.batch(f"distil-{self.seed}-{step}", length, documents, summary=self.summary,
                               document_weight=self.document_weight)
        batch.layout()
        if self.window:
            batch.window_layout(self.window)
        return batch


class Loaders:
    """Makes batches in processes of their own, some steps ahead; 0 processes: when they are asked for."""

    AHEAD = 6  # batches a process

    def __init__(self, model_folder, processes):
        self._books, self._processes = Logbooks(model_folder), processes
        if processes:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, spawn, _open_books, (model_folder,))

    def batches(self, data):
        if not self._processes:
            yield from (data.make(self._books, step) for step in range(data.steps))
            return
        steps, waiting = iter(range(data.steps)), deque()
        submit = lambda n: waiting.extend(self._pool.submit(_make, data, step) for step in islice(steps, n))
        submit(self.AHEAD * self._processes)
        while waiting:
            batch = waiting.popleft().result()
            submit(1)
            yield batch.apply(torch.from_numpy)


def _open_books(model_folder):
    global _books
    torch.set_num_threads(1)
    _books = Logbooks(model_folder)


def _make(data, step):
    return data.make(_books, step).apply(torch.Tensor.numpy)  # cheaper to send
