"""The rows of a training step: tokens of several sequences, what each should predict, how much it counts.

A segment is (first row, rows, parent or -1): consecutive tokens of one sequence. A child continues the end of its
parent, which has no parent itself; nothing else passes between segments.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

NO_LABEL = -1


class Segment(NamedTuple):
    first_row: int
    rows: int
    parent: int = -1


@dataclass
class Batch:
    ids: torch.Tensor  # [R]
    positions: torch.Tensor  # [R] in the sequence, a parent's tokens counted
    labels: torch.Tensor  # [R] the next token, or NO_LABEL
    kl_weight: torch.Tensor  # [R] share of the row in the mean divergence, not normalised
    segments: list  # of Segment

    def roots(self):
        return [i for i, s in enumerate(self.segments) if s.parent < 0]

    def children(self):
        return [i for i, s in enumerate(self.segments) if s.parent >= 0]


def rows_of(segment):
    return range(segment.first_row, segment.first_row + segment.rows)


class BatchBuilder:
    """Appends segments, parents first."""

    def __init__(self):
        self._ids, self._positions, self._labels, self._kl_weight, self._segments = [], [], [], [], []

    def add(self, ids, labels_from, kl_weight, parent=-1):
        """`labels_from`: the first token of the segment that is a label. Returns the segment's index."""
        start = 0
        if parent >= 0:
            above = self._segments[parent]
            start = self._positions[above.first_row + above.rows - 1] + 1
        self._segments.append(Segment(len(self._ids), len(ids), parent))
        nexts = list(ids[1:]) + [NO_LABEL]
        self._labels += [token if i + 1 >= labels_from else NO_LABEL for i, token in enumerate(nexts)]
        self._ids += ids
        self._positions += range(start, start + len(ids))
        self._kl_weight += kl_weight if isinstance(kl_weight, list) else [kl_weight] * len(ids)
        return len(self._segments) - 1

    def build(self):
        return Batch(
            torch.tensor(self._ids),
            torch.tensor(self._positions),
            torch.tensor(self._labels),
            torch.tensor(self._kl_weight, dtype=torch.float32),
            self._segments,
        )
