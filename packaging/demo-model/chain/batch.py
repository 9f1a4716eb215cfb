"""The rows of a training step: tokens of several sequences, what each should predict, how much it counts.

A segment is (first row, rows, parent or -1): consecutive tokens of one sequence. A child continues the end of its
parent, which has no parent itself; nothing else passes between segments.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from layout import Layout, WindowLayout, moved

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
    scored: torch.Tensor  # numbers of the rows that have a label or a kl_weight
    segments: list  # of Segment
    layouts: dict = field(default_factory=dict)  # those asked for so far

    def layout(self):
        return self._kept("all", lambda: Layout.of(self.segments, len(self.ids)))

    def window_layout(self, width):
        return self._kept(width, lambda: WindowLayout.of(self.segments, len(self.ids), width))

    def apply(self, change):
        """With every tensor changed, those of the layouts too."""
        tensors = (self.ids, self.positions, self.labels, self.kl_weight, self.scored)
        layouts = {name: layout.apply(change) for name, layout in self.layouts.items()}
        return Batch(*map(change, tensors), self.segments, layouts)

    def to(self, device):
        return self.apply(lambda tensor: moved(tensor, device))

    def _kept(self, name, make):
        if name not in self.layouts:
            self.layouts[name] = make().apply(lambda tensor: moved(tensor, self.ids.device))
        return self.layouts[name]


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
        labels, kl_weight = torch.tensor(self._labels), torch.tensor(self._kl_weight, dtype=torch.float32)
        scored = ((labels != NO_LABEL) | (kl_weight > 0)).nonzero().squeeze(1)
        return Batch(torch.tensor(self._ids), torch.tensor(self._positions), labels, kl_weight, scored, self._segments)
