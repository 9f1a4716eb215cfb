"""Converts layers of the demo model one after the other on generated logbooks and measures every plan.

    python distil.py ../model --order 1,6,7,5,4,3,0,2 --out /tmp/chain

Writes layer-NN.safetensors with layer-NN.json (how far its training is) and plans.jsonl: one line a plan, the options
first. Deterministic for a seed, a torch build and one thread, on a CPU.
"""

import argparse
import json
import math
import time
from dataclasses import fields, replace
from pathlib import Path

import torch

import dsla
from layer_file import load_layer, save_layer
from logbooks import Loaders, Logbooks, TrainingData
from measure import compare
from network import Network
from optimizer import Optimizer
from stages import ChainedWeights, chained, layer_wise
from student import FEATURE_MAPS, DslaLayer, Variant

PARTS = 10  # of a stage: after each, its mean loss is told and the layer stored


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


def train(layer, batches, steps, rates, options, loss_of, part_done):
    """`part_done(step, rows so far, mean loss)` is called after each part of the steps."""
    optimizer, sums, rows = Optimizer(layer, steps, *rates, projection_rate=options.projection_rate), [], 0
    for step, batch in enumerate(batches):
        loss = loss_of(batch.to(options.device))
        loss.backward()
        optimizer.step(step)
        sums.append(loss.item())
        if not math.isfinite(sums[-1]):
            raise SystemExit(f"the loss of step {step} is {sums[-1]}")
        rows += len(batch.ids)
        if (step + 1) * PARTS // steps > step * PARTS // steps:
            part_done(step + 1, rows, sum(sums) / len(sums))
            sums = []


def convert(network, loaders, converted, index, options):
    """Both stages of one layer; adds it to `converted`. Returns what is in layer-NN.json: by stage, how far it is."""
    variant = variant_of(vars(options), index)
    layer = DslaLayer(network.config, variant, network.attention_parameters(index), options.seed + index)
    if options.start:
        load_layer(layer, options.start / f"layer-{index:02}.safetensors")
    converted[index] = layer
    weights = from_options(options, ChainedWeights, "weight_")
    dropout = torch.Generator().manual_seed(options.seed)
    done, began = {}, time.time()

    def stage(name, steps, rate, loss_of):
        done[name] = {"step": 0, "steps": steps, "rows": 0, "losses": []}

        def part_done(step, rows, loss):
            seconds = time.time() - began
            print(f"  layer {index} {name} step {step} of {steps} loss {loss:.5f} {seconds:.0f} s, "
                  f"{int(dsla.cut['calls'])} steep", flush=True)
            done[name].update(step=step, rows=rows, losses=done[name]["losses"] + [loss])
            save_layer(layer, options.out / f"layer-{index:02}.safetensors")
            (options.out / f"layer-{index:02}.json").write_text(json.dumps(done))

        data = TrainingData(f"{options.seed}-{index}-{name}", steps, *options.training_lengths, options.rows, options.grow,
                            options.document_weight, options.summaries, options.window)
        rates = (rate, rate / 30, options.warm_up)
        train(layer, loaders.batches(data), steps, rates, options, loss_of, part_done)

    stage("layer-wise", options.steps, options.rate,
          lambda batch: layer_wise(network, converted, index, batch, options.target))

    def chained_loss(batch):
        if options.window_dropout:
            kept = torch.rand(network.config.heads, generator=dropout) >= options.window_dropout
            layer.kept = kept.to(layer.q_proj)
        return chained(network, converted, index, batch, weights)[0]

    stage("chained", dict(options.hard).get(index, options.chained_steps), options.chained_rate, chained_loss)
    layer.kept = None
    return done


def stored_variant(entry):
    names = {field.name for field in fields(Variant)}
    return Variant(**{name: value for name, value in entry.items() if name in names})


def variant_of(options, index):
    """Of a layer, by the options as they are here or as plans.jsonl has them."""
    return replace(stored_variant(options), **dict(options.get("layer_variant", ())).get(index, {}))


def stored_chain(network, folder, count):
    """{layer: its first `count` layers}, as `dslad-model distil` or this program with `write_chain.py` stored them."""
    chain, converted = json.loads((folder / "chain.json").read_text()), {}
    for entry in chain["layers"][:count]:
        variant = stored_variant(entry.get("variant", chain["variant"]))
        layer = DslaLayer(network.config, variant, network.attention_parameters(entry["layer"]), 0)
        converted[entry["layer"]] = load_layer(layer, folder / entry["file"]).requires_grad_(False)
    return converted


def layer_steps(text):
    layer, steps = text.split("=")
    return int(layer), int(steps)


def layer_parts(text):
    """"1=rotary=0,window=32" as (1, {"rotary": False, "window": 32})."""
    layer, parts = text.split("=", 1)
    kinds = {field.name: field.type for field in fields(Variant)}
    of = lambda name, value: kinds[name](int(value) if kinds[name] is bool else value)
    found = {name: of(name, value) for name, value in (part.split("=") for part in parts.split(","))}
    if found.get("delta"):  # which has one, as `dslad-model distil` takes it
        found.setdefault("states", 1)
    return int(layer), found


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--order", required=True, help="layers in the order of conversion, by commas")
    parser.add_argument("--chain", type=Path, help="folder of a chain whose first layers come before --order")
    parser.add_argument("--keep", type=int, default=0, help="how many of them")
    parser.add_argument("--start", type=Path, help="folder of layers to go on from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tf32", action="store_true", help="products in TF32 where the device has it")
    parser.add_argument("--cut-steep", action="store_true",
                        help="cut the exponents of gates that close very fast (dsla.py): faster; always so on a GPU")
    parser.add_argument("--loaders", type=int, default=0, help="processes that prepare batches")
    parser.add_argument("--steps", type=int, default=150, help="of the layer-wise stage")
    parser.add_argument("--chained-steps", type=int, default=100)
    parser.add_argument("--hard", type=layer_steps, nargs="+", default=(), metavar="LAYER=STEPS",
                        help="chained steps of single layers")
    parser.add_argument("--rows", type=int, default=1500, help="of a batch, about")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--chained-rate", type=float, default=1e-3)
    parser.add_argument("--projection-rate", type=float, default=1.0, help="of q, k, v and o relative to the others'")
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--target", choices=("attention", "hidden"), default="attention")
    parser.add_argument("--training-lengths", type=int, nargs=2, default=(150, 1000), metavar=("SHORTEST", "LONGEST"),
                        help="of the training documents, tokens")
    parser.add_argument("--grow", type=float, default=0.0, help="share of a stage in which the longest document grows")
    parser.add_argument("--document-weight", type=float, default=1.0, help="of a document's row in the divergence")
    parser.add_argument("--summaries", action=argparse.BooleanOptionalAction, default=True, help="in training")
    parser.add_argument("--window-dropout", type=float, default=0.0,
                        help="chance of each head, in each chained step, to be without its window's part")
    parser.add_argument("--lengths", type=int, nargs="+", default=(500, 1000, 2000), help="of the held-out documents")
    parser.add_argument("--documents", type=int, default=2, help="of each length")
    parser.add_argument("--layer-variant", type=layer_parts, nargs="+", default=(), metavar="LAYER=PART=VALUE,..",
                        help="what single layers have otherwise than the variant of all, by the options' names with _ for -")
    add_fields(parser, Variant)
    add_fields(parser, ChainedWeights, "weight-")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    if options.tf32:
        torch.set_float32_matmul_precision("high")
    dsla.cut["steep"] = options.cut_steep or options.device != "cpu"
    network, books = Network.load(options.model, device=options.device), Logbooks(options.model)
    loaders = Loaders(options.model, options.loaders)
    # One document a batch: of the longest ones several would need much memory.
    held_out = {n: [books.batch(f"held-out-{n}-{i}", n) for i in range(options.documents)] for n in options.lengths}
    options.out.mkdir(parents=True, exist_ok=True)
    converted = stored_chain(network, options.chain, options.keep) if options.chain else {}
    began = time.time()
    with open(options.out / "plans.jsonl", "w") as log:
        log.write(json.dumps(vars(options), default=str) + "\n")
        for index in (None, *map(int, options.order.split(","))):
            done = {} if index is None else convert(network, loaders, converted, index, options)
            if done:
                save_layer(converted[index], options.out / f"layer-{index:02}.safetensors")
                converted[index].requires_grad_(False)
            scores = {length: compare(network, converted, batches) for length, batches in held_out.items()}
            line = {"plan": len(converted), "layer": index, "seconds": round(time.time() - began), **done}
            log.write(json.dumps({**line, "scores": scores}) + "\n")
            log.flush()
            table = "  ".join(f"{n}: exact {s['exact']['all']:.3f} kl {s['kl']:.4f}" for n, s in scores.items())
            print(f"plan {len(converted)} layer {index}  {table}", flush=True)


if __name__ == "__main__":
    main()
