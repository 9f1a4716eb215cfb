"""Where the rows of a batch lie in padded sequences: what attention gathers by, worked out once a batch.

R rows in all; in an index, R stands for "nothing here".
"""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F


def _padded(first, rows, nowhere):
    """Row numbers [B, T] of B runs of consecutive rows."""
    along = torch.arange(int(rows.max()))
    return torch.where(along < rows[:, None], first[:, None] + along, nowhere)


def _places(index, rows):
    """[R]: where in the flattened index each row stands; of a row that is not in it, 0."""
    flat = index.flatten()
    real = (flat < rows).nonzero().squeeze(1)
    return torch.zeros(rows, dtype=torch.long).index_put((flat[real],), real)


class Gather:
    """Rows [R, .., ..] of several tensors as sequences [B, T, .., ..], zeros where nothing is; all in one go."""

    def __init__(self, *tensors):
        self._shapes = [x.shape[1:] for x in tensors]
        self._rows = F.pad(torch.cat([x.flatten(1) for x in tensors], dim=1), (0, 0, 0, 1))

    def __call__(self, index):
        rows = self._rows.index_select(0, index.flatten()).unflatten(0, index.shape)
        parts = rows.split([shape.numel() for shape in self._shapes], dim=2)
        return [part.unflatten(2, shape) for part, shape in zip(parts, self._shapes)]


def moved(tensor, device):
    """Without waiting for the device."""
    pinned = tensor.pin_memory() if torch.device(device).type == "cuda" and not tensor.is_cuda else tensor
    return pinned.to(device, non_blocking=True)


@dataclass
class Layout:
    """D roots of up to T rows; C children of up to U rows each, of up to V rows in all for each root."""

    roots: torch.Tensor  # [D, T]
    root_rows: torch.Tensor  # [D]
    children: torch.Tensor  # [C, U]
    parents: torch.Tensor  # [C] which root
    families: torch.Tensor  # [D, V] a root's children one after the other
    owners: torch.Tensor  # [D, V] whose row each of them is, -1: nobody's
    in_segments: torch.Tensor  # [R] place in (roots, children)
    in_families: torch.Tensor  # [R] place in (roots, families)

    @staticmethod
    def of(segments, rows):
        """`rows`: the batch's R."""
        first, count, parent = torch.tensor(segments).T
        is_root = parent < 0
        roots = _padded(first[is_root], count[is_root], rows)
        number = is_root.cumsum(0) - 1
        parents = number[parent[~is_root]]
        children = torch.empty(0, 1, dtype=torch.long)
        if len(parents):
            children = _padded(first[~is_root], count[~is_root], rows)
        families, owners = [], []
        for root in range(len(roots)):
            mine = children[parents == root].flatten()
            owner = (parents == root).nonzero().repeat_interleave(children.shape[1])
            families.append(mine[mine < rows])
            owners.append(owner[mine < rows])
        pad = lambda lists, value: torch.nn.utils.rnn.pad_sequence(lists, batch_first=True, padding_value=value)
        families, owners = pad(families, rows), pad(owners, -1)
        below = lambda index: _places(torch.cat((roots.flatten(), index.flatten())), rows)
        return Layout(roots, count[is_root], children, parents, families, owners, below(children), below(families))

    def apply(self, change):
        return Layout(*(change(getattr(self, field.name)) for field in fields(self)))


@dataclass
class WindowLayout:
    """Roots, and children behind the end of their parent, both padded to whole blocks of the window's width."""

    roots: torch.Tensor  # [D, N * width]
    children: torch.Tensor  # [C, M * width]
    places: torch.Tensor  # [R] in (roots, children)

    @staticmethod
    def of(segments, rows, width):
        first, count, parent = torch.tensor(segments).T
        whole = lambda index: F.pad(index, (0, -index.shape[1] % width), value=rows)
        roots, children = whole(_padded(first[parent < 0], count[parent < 0], rows)), torch.empty(0, width, dtype=int)
        own = children
        if (parent >= 0).any():
            first, count, parent = (x[parent >= 0] for x in (first, count, parent))
            first_above, above = segment_ends(segments, parent, width)
            along = torch.arange(int((above + count).max()))
            is_above = along < above[:, None]
            children = torch.where(is_above, first_above[:, None] + along, first[:, None] + along - above[:, None])
            children = whole(children.where(along < (above + count)[:, None], rows))
            own = children.where(~F.pad(is_above, (0, children.shape[1] - len(along))), rows)
        return WindowLayout(roots, children, _places(torch.cat((roots.flatten(), own.flatten())), rows))

    def apply(self, change):
        return WindowLayout(change(self.roots), change(self.children), change(self.places))


def segment_ends(segments, which, width):
    """First row and number of rows of the last `width` rows of some segments, fewer where they have fewer."""
    first, count, _ = torch.tensor(segments)[which].T
    ending = count.clamp(max=width)
    return first + count - ending, ending
