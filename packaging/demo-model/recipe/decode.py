"""Greedy decoding with a KV cache: the document once, then each suffix from the document's state."""

import torch

from corpus import BOS, EOS


class Cache:
    """Keys and values of the tokens so far, per attention layer."""

    def __init__(self, held=None):
        self.held = dict(held or {})

    def append(self, layer, k, v):
        if layer in self.held:
            k, v = (torch.cat((old, new), dim=2) for old, new in zip(self.held[layer], (k, v)))
        self.held[layer] = (k, v)
        return k, v


@torch.inference_mode()
def read_document(model, tokenizer, text):
    """(cache, number of tokens) after bos and the document piece."""
    ids = [BOS] + tokenizer.encode(text, add_special_tokens=False).ids
    cache = Cache()
    model(torch.tensor([ids]), torch.arange(len(ids))[None], len(ids), cache=cache)
    return cache, len(ids)


@torch.inference_mode()
def continue_with(model, tokenizer, document, suffix, limit):
    """The ids that follow the suffix, up to and including eos. `document` is what read_document gave."""
    cache, length = Cache(document[0].held), document[1]
    ids, out = tokenizer.encode(suffix, add_special_tokens=False).ids, []
    while len(out) < limit and EOS not in out:
        n = len(ids)
        future = torch.ones(n, n, dtype=torch.bool).triu(1)
        mask = torch.cat((torch.zeros(n, length), future * -1e9), dim=1)[None, None]
        hidden = model(torch.tensor([ids]), torch.arange(length, length + n)[None], 0, mask, cache)
        length += n
        ids = [int(model.logits(hidden[0, -1]).argmax())]
        out += ids
    return out


@torch.inference_mode()
def would_answer(model, tokenizer, document, pairs):
    """For each (suffix, answer) whether greedy decoding gives exactly the answer and then eos.

    All pairs in one pass, hidden from each other. Greedy decoding gives the answer if and only if each of its
    tokens is the likeliest after the ones before it, so nothing needs to be decoded.
    """
    cache, length = Cache(document[0].held), document[1]
    ids, positions, blocks, spans = [], [], [], []
    for block, (suffix, answer) in enumerate(pairs):
        prompt, target = (tokenizer.encode(t, add_special_tokens=False).ids for t in (suffix, " " + answer))
        spans.append((len(ids) + len(prompt) - 1, target + [EOS]))
        ids += prompt + target
        positions += range(length, length + len(prompt) + len(target))
        blocks += [block] * (len(prompt) + len(target))
    blocks = torch.tensor(blocks)
    hidden_pairs = (blocks[:, None] != blocks) | torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
    mask = torch.cat((torch.zeros(len(ids), length), hidden_pairs * -1e9), dim=1)[None, None]
    hidden = model(torch.tensor([ids]), torch.tensor([positions]), 0, mask, cache)
    likeliest = model.logits(hidden[0]).argmax(-1).tolist()
    return [likeliest[at : at + len(target)] == target for at, target in spans]


def answer_text(tokenizer, ids):
    return tokenizer.decode([i for i in ids if i != EOS]).strip()
