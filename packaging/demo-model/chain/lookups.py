"""Which facts a converted layer can tell apart: how its features of their keys overlap.

    python lookups.py ../model --chain ../model/dsla --layer 1 --head 2

The row where a fact's key ends in an answer ("The tank of Delta") looks, in the teacher's head, at one row of the document.
For either row the converted layer has features, of q and of k; a fact is told apart from others as far as its q meets its own
k more than theirs. Rows are averaged by key over held-out logbooks; products are relative to that with the own key.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F

from distil import stored_chain
from logbooks import Logbooks
from network import Network

SURE = 0.8  # of the teacher's weights on one row, to count as a look at it


def key_ends(books, batch):
    """[(row, segment, key)] of the answers: where "tank of Delta", or another fact's key, ends."""
    pieces = [books.tokenizer.decode([token]).strip() for token in batch.ids.tolist()]
    for segment in batch.segments:
        if segment.parent >= 0:
            for row in range(segment.first_row + 2, segment.first_row + segment.rows):
                if pieces[row - 1] == "of" and pieces[row - 2] in ("keeper", "seal", "tank", "store"):
                    yield row, segment, f"{pieces[row - 2]} of {pieces[row]}"


@torch.no_grad()
def features(network, converted, index, head, batch, books):
    """(key, features of q, features of k) of each look, for one query head."""
    group = head // (network.config.heads // network.config.kv_heads)
    norm = lambda trace: network.norm(f"layers.{index}.input_layernorm.weight", trace.inputs[index])
    rows = norm(network.run(batch, end=index + 1))
    q, k, _ = network.attention_rows(index, rows, network.rotary(batch.positions))
    layer = converted[index]
    rows = norm(network.run(batch, converted, end=index + 1))
    split = lambda weight, part: layer.features(F.linear(rows, weight).unflatten(-1, (-1, layer.key_width))[:, part])
    of_q, of_k = split(layer.q_proj, head), split(layer.k_proj, group)
    for row, segment, key in key_ends(books, batch):
        document = batch.segments[segment.parent]
        seen = slice(document.first_row, document.first_row + document.rows)
        weights = (k[seen, group] @ q[row, head] * network.config.head_dim**-0.5).softmax(0)
        if weights.max() > SURE:
            yield key, of_q[row], of_k[seen][weights.argmax()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--chain", type=Path, required=True)
    parser.add_argument("--layer", type=int, required=True)
    parser.add_argument("--head", type=int, required=True, help="of the queries")
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=700, help="of a document")
    options = parser.parse_args()
    network, books = Network.load(options.model), Logbooks(options.model)
    converted = stored_chain(network, options.chain, network.config.layers)
    if options.layer not in converted or converted[options.layer].variant.rotary:
        parser.error(f"--layer {options.layer}: the chain has no such layer whose states are not rotated")
    found = defaultdict(list)
    for document in range(options.documents):
        batch, _ = books.batch(f"held-out-lookups-{document}", options.tokens, summary=False)
        for key, *pair in features(network, converted, options.layer, options.head, batch, books):
            found[key].append(torch.stack(pair))
    keys = sorted(found)
    of_q, of_k = torch.stack([torch.stack(found[key]).mean(0) for key in keys]).unbind(1)
    products = of_q @ of_k.T
    relative = products / products.diag()[:, None]
    others = relative - torch.eye(len(keys))
    same = torch.tensor([[a.split()[0] == b.split()[0] for b in keys] for a in keys])
    used = of_k.mean(0)
    print(f"{len(keys)} keys in {sum(map(len, found.values()))} looks")
    print(f"features that their k use: {used.sum() ** 2 / used.square().sum():.0f} of {len(used)} (inverse participation)")
    print(f"the most similar other key: {others.amax(1).median():.2f} of the own one's product (median over keys)")
    print(f"all keys of the same attribute: {(others * same).sum(1).median():.2f}, of others: {(others * ~same).sum(1).median():.2f}")


if __name__ == "__main__":
    main()
