"""Training batches: documents with many questions, each of which sees only the document and itself.

A sample is one document piece and several suffix pieces ("\n\nQuestion: ...\nAnswer: ...<end>" or
"\n\nSummary: ...<end>"). All suffixes start at the position after the document, as in serving, where the
engine encodes the two pieces separately and concatenates their ids.
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import prose
from generator import make_logbook
from prompts import QUESTION, RECITAL, SUMMARY
from routine import routine_line

BOS, EOS = 0, 1
DOCUMENT_WEIGHT, SUMMARY_WEIGHT, ANSWER_WEIGHT = 0.3, 0.5, 1.0
SUMMARIES_FIRST = {"document": 0.05, "summary": 2.0}  # weights where summaries matter most
DOCUMENT_EVERY = 4  # only every fourth document is itself a target: scores over the vocabulary are dear
SHORT = 640  # widest document for which one mask over everything is the faster attention


@dataclass
class Sample:
    document: list  # ids, bos first
    positions: list  # of the document's tokens
    suffixes: list  # (ids, number of prompt ids, weight of the answer's tokens)
    weight: float = DOCUMENT_WEIGHT  # of the document's tokens


class Corpus:
    def __init__(self, tokenizer_path, seed):
        self.tokenizer = Tokenizer.from_file(str(tokenizer_path))
        self.line_end = self.tokenizer.token_to_id("Ċ")
        self.seed = seed
        self.sentences = prose.load_sentences()

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def sample(self, name, tokens, max_suffixes, stretch, recite, summaries=False, stations=None):
        """`stretch`: whether to leave gaps between some lines' positions, as if the log were longer.

        `recite`: whether to repeat the entries in another order. Every value of it can be looked up, which
        teaches looking up much faster than the questions alone.
        `summaries`: whether the summary matters most. `stations`: as for make_logbook.
        """
        rng = random.Random(f"{self.seed}-{name}")
        routine = self._prose_line if rng.random() < 0.2 else routine_line
        book = make_logbook(f"{self.seed}-{name}", tokens, routine, stations)
        suffixes = [
            self.suffix(QUESTION.format(question=q.text), q.answer, ANSWER_WEIGHT)
            for q in book.questions[: max_suffixes - 1]
        ]
        if rng.random() < 0.7 or summaries:
            weight = SUMMARIES_FIRST["summary"] if summaries else SUMMARY_WEIGHT
            suffixes.append(self.suffix(SUMMARY, book.summary, weight))
        if recite:
            entries = [line.partition(": ")[2] for line in book.text.split("\n")[1:]]
            rng.shuffle(entries)
            suffixes.append(self.suffix(RECITAL, "\n ".join(entries), SUMMARY_WEIGHT))
        document = [BOS] + self.encode(book.text)
        weight = SUMMARIES_FIRST["document"] if summaries else DOCUMENT_WEIGHT
        return Sample(document, self._positions(rng, document, stretch), suffixes, weight)

    def drill_sample(self, name, drill, step):
        """A sample of drills.py."""
        text, suffixes = drill(random.Random(f"{self.seed}-{name}"), step)
        document = [BOS] + self.encode(text)
        pieces = [self.suffix(prompt, answer, ANSWER_WEIGHT) for prompt, answer in suffixes]
        return Sample(document, list(range(len(document))), pieces)

    def prose_sample(self, name, tokens):
        """Plain prose without questions."""
        rng = random.Random(f"{self.seed}-{name}")
        start = rng.randrange(len(self.sentences) - tokens)
        document = [BOS] + self.encode("\n".join(self.sentences[start : start + tokens // 8]))[:tokens]
        return Sample(document, list(range(len(document))), [])

    def suffix(self, prompt, answer, weight):
        ids = self.encode(prompt)
        return ids + self.encode(" " + answer) + [EOS], len(ids), weight

    def _prose_line(self, rng, stations):
        return rng.choice(self.sentences)

    def _positions(self, rng, document, stretch):
        gaps = [0] * len(document)
        if stretch:
            room = rng.randint(0, max(0, 7900 - len(document)))
            ends = [i for i, token in enumerate(document) if token == self.line_end]
            cuts = rng.sample(ends, min(len(ends), rng.randint(1, 12)))
            marks = sorted(rng.randint(0, room) for _ in range(len(cuts) + 1))
            for cut, low, high in zip(sorted(cuts), [0] + marks, marks):
                gaps[cut] = high - low
        positions, at = [], 0
        for gap in gaps:
            positions.append(at)
            at += 1 + gap
        return positions


def collate(samples):
    """Model inputs, targets and weights. Columns: documents, padded, then all suffixes, padded."""
    width = max(len(s.document) for s in samples)
    tail = max(sum(len(ids) for ids, _, _ in s.suffixes) for s in samples)
    ids = torch.full((len(samples), width + tail), EOS)
    positions = torch.zeros_like(ids)
    targets = torch.full_like(ids, EOS)
    weights = torch.zeros(ids.shape)
    block = torch.full((len(samples), tail), -1)
    lengths = torch.tensor([len(s.document) for s in samples])
    for row, sample in enumerate(samples):
        n = len(sample.document)
        _place(ids, positions, targets, row, 0, sample.document, sample.positions)
        if row % DOCUMENT_EVERY == 0:
            weights[row, : n - 1] = sample.weight
        at = width
        for index, (suffix, prompt, weight) in enumerate(sample.suffixes):
            start = sample.positions[-1] + 1
            _place(ids, positions, targets, row, at, suffix, range(start, start + len(suffix)))
            weights[row, at + prompt - 1 : at + len(suffix) - 1] = weight
            block[row, at - width : at - width + len(suffix)] = index
            at += len(suffix)
    same = (block[:, :, None] == block[:, None, :]) & torch.ones(tail, tail, dtype=torch.bool).tril()
    seen = (torch.arange(width) < lengths[:, None])[:, None, :].expand(-1, tail, -1)
    visible = torch.cat((seen, same), dim=2)
    causal_length = width
    if width <= SHORT:
        history = torch.ones(width, width, dtype=torch.bool).tril().expand(len(samples), -1, -1)
        visible = torch.cat((F.pad(history, (0, tail)), visible), dim=1)
        causal_length = 0
    mask = torch.zeros(visible.shape).masked_fill(~visible, -1e9)[:, None]
    return {"ids": ids, "positions": positions, "causal_length": causal_length, "mask": mask}, targets, weights


def _place(ids, positions, targets, row, at, tokens, where):
    tokens = torch.tensor(tokens)
    ids[row, at : at + len(tokens)] = tokens
    targets[row, at : at + len(tokens) - 1] = tokens[1:]
    positions[row, at : at + len(tokens)] = torch.tensor(list(where))
