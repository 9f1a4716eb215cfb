"""Converts layers of the demo model one after the other on generated logbooks and measures every plan.

    python distil.py ../model --order 1,6,7,5,4,3,0,2 --out /tmp/chain

Writes layer-NN.safetensors and plans.jsonl: one line a plan, the options first. Deterministic for a seed, a torch
build and one thread.
"""

import argparse
import json
import time
from dataclasses import fields
from pathlib import Path

import torch

from layer_file import save_layer
from logbooks import Logbooks, training_batches
from measure import compare
from network import Network
from optimizer import Optimizer
from stages import ChainedWeights, chained, layer_wise
from student import FEATURE_MAPS, DslaLayer, Variant


def add_fields(parser, kind, prefix=""):
    """An option for every field of the dataclass."""
    for field in fields(kind):
        name = f"--{prefix}{field.name.replace('_', '-')}"
        if field.type is bool:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            choices = FEATURE_MAPS if field.name == "feature_map" else None
            parser.add_argument(name, type=field.type, default=field.default, choices=choices)


def from_options(options, kind, prefix=""):
    return kind(**{f.name: getattr(options, prefix + f.name) for f in fields(kind)})


def train(layer, batches, steps, rates, projection_rate, loss_of):
    """Mean loss of the last tenth of the steps, and rows seen."""
    optimizer, losses, rows = Optimizer(layer, steps, *rates, projection_rate=projection_rate), [], 0
    for step, batch in enumerate(batches):
        loss = loss_of(batch)
        if not torch.isfinite(loss):
            raise SystemExit(f"the loss of step {step} is {loss.item()}")
        loss.backward()
        optimizer.step(step)
        losses.append(loss.item())
        rows += len(batch.ids)
    last = losses[-max(1, steps // 10) :]
    return {"loss": sum(last) / max(1, len(last)), "rows": rows}


def convert(network, books, converted, index, options):
    """Both stages of one layer; adds it to `converted`."""
    layer = DslaLayer(network.config, from_options(options, Variant), network.projections(index), options.seed + index)
    converted[index] = layer
    weights = from_options(options, ChainedWeights, "weight_")

    def batches(stage, steps):
        return training_batches(books, f"{options.seed}-{index}-{stage}", steps, *options.training_lengths, options.rows,
                                document_weight=options.document_weight, summary=options.summaries)

    first = train(layer, batches("layer-wise", options.steps), options.steps, (options.rate, options.rate / 30, 20),
                  options.projection_rate, lambda batch: layer_wise(network, converted, index, batch, options.target))
    second = train(layer, batches("chained", options.chained_steps), options.chained_steps,
                   (options.chained_rate, options.chained_rate / 30, 20),
                   options.projection_rate, lambda batch: chained(network, converted, index, batch, weights)[0])
    return {"layer-wise": first, "chained": second}


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--order", required=True, help="layers in the order of conversion, by commas")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=150, help="of the layer-wise stage")
    parser.add_argument("--chained-steps", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1500, help="of a batch, about")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--chained-rate", type=float, default=1e-3)
    parser.add_argument("--projection-rate", type=float, default=1.0, help="of q, k, v and o relative to the others'")
    parser.add_argument("--target", choices=("attention", "hidden"), default="attention")
    parser.add_argument("--training-lengths", type=int, nargs=2, default=(150, 1000), metavar=("SHORTEST", "LONGEST"),
                        help="of the training documents, tokens")
    parser.add_argument("--document-weight", type=float, default=1.0, help="of a document's row in the divergence")
    parser.add_argument("--summaries", action=argparse.BooleanOptionalAction, default=True, help="in training")
    parser.add_argument("--lengths", type=int, nargs="+", default=(500, 1000, 2000), help="of the held-out documents")
    parser.add_argument("--documents", type=int, default=2, help="of each length")
    add_fields(parser, Variant)
    add_fields(parser, ChainedWeights, "weight-")
    return parser.parse_args()


def main():
    options = parse_options()
    torch.set_num_threads(options.threads)
    network, books = Network.load(options.model), Logbooks(options.model)
    held_out = {n: [books.batch(f"held-out-{n}-{i}", n) for i in range(options.documents)] for n in options.lengths}
    options.out.mkdir(parents=True, exist_ok=True)
    converted, began = {}, time.time()
    with open(options.out / "plans.jsonl", "w") as log:
        log.write(json.dumps({name: str(value) for name, value in vars(options).items()}) + "\n")
        for index in (None, *map(int, options.order.split(","))):
            losses = {} if index is None else convert(network, books, converted, index, options)
            if losses:
                save_layer(converted[index], options.out / f"layer-{index:02}.safetensors")
            scores = {length: compare(network, converted, batches) for length, batches in held_out.items()}
            line = {"plan": len(converted), "layer": index, "seconds": round(time.time() - began), **losses}
            log.write(json.dumps({**line, "scores": scores}) + "\n")
            log.flush()
            table = "  ".join(f"{n}: exact {s['exact']['all']:.3f} kl {s['kl']:.4f}" for n, s in scores.items())
            print(f"plan {len(converted)} layer {index}  {table}", flush=True)


if __name__ == "__main__":
    main()
