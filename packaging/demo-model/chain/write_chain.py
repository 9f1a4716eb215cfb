"""Puts layers that distil.py made into the folder of a chain, in place of those there from the first of them on.

    python write_chain.py ../model RUN --chain ../model/dsla

RUN is distil.py's --out with --chain and --keep, finished or not. A layer of another variant than the chain's says so; one that
went on (--start) from the layer that it replaces keeps what that said of its training.
What the plans from there on were worth is forgotten: measure them again (`dslad-model eval --write-chain`).
"""

import argparse
import fcntl
import json
import os
from pathlib import Path

import torch
import xxhash

from distil import stored_chain, stored_variant, variant_of
from layer_file import load_layer, save_layer
from logbooks import Logbooks
from measure import compare
from network import Network
from student import DslaLayer

MADE_BY = "packaging/demo-model/chain/distil.py"
FOLDERS = ("model", "chain", "start", "out")  # options that say nothing to others
STORED = (  # what chain.json says of it
    "rotary", "feature_map", "states", "delta", "expand_k", "output_norm", "alpha_per_head", "window", "sinks",
)
OF_ALL = ("output_norm", "alpha_per_head", "window", "sinks")  # what a layer must have as its chain has it
HELD_OUT = (1000, 3000)  # lengths of the logbooks that a layer's own entry is measured on


def locked(path):
    """The file that is to take the place of `path`, once no other program writes one: dslad-model's way
    (worker/files/atomic_file.h)."""
    name = f"{path}.tmp"
    while True:
        file = open(name, "a")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(name) and os.path.samestat(os.fstat(file.fileno()), os.stat(name)):
            file.truncate(0)
            return file
        file.close()


def gates(network, converted, index, batches):
    """10%, 50% and 90% of the channels' mean gates lie below these; as `dslad-model distil` writes them."""
    means = []
    for batch, _ in batches:
        x = network.run(batch, converted, end=index + 1).inputs[index]
        normed = network.norm(f"layers.{index}.input_layernorm.weight", x)
        means.append(converted[index].log_gates(normed).exp().mean(0).flatten(1))
    shares = torch.tensor([0.1, 0.5, 0.9])
    of = lambda state: dict(zip(("low", "median", "high"), state.quantile(shares).tolist()))
    found = torch.stack(means).mean(0)
    return dict(zip(("history", "recency"), map(of, found)))


def own_variant(variant, chain):
    """The layer's entry `variant`: None where it is the chain's."""
    parts = {name: getattr(variant, name) for name in STORED}
    changed = {name: value for name, value in parts.items() if value != getattr(stored_variant(chain), name)}
    if not changed:
        return None
    text = lambda value: f"{int(value)}" if isinstance(value, bool) else f"{value}"
    return {"name": ",".join([chain["name"], *(f"{name}={text(value)}" for name, value in changed.items())]), **parts}


@torch.no_grad()
def with_layers(chain, folder, run, network, books):
    """`chain`, the manifest in `folder`, with the layers of `run` in place of its own; their files are written."""
    batches = [books.batch(f"held-out-layers-{length}", length) for length in HELD_OUT]
    options = json.loads((run / "plans.jsonl").read_text().splitlines()[0])
    keep = options["keep"]
    converted = stored_chain(network, folder, keep)
    replaced = {entry["layer"]: entry["losses"] for entry in chain["layers"][keep:]}
    layers, plans = chain["layers"][:keep], [plan for plan in chain["plans"] if plan["plan"] <= keep]
    for index in map(int, options["order"].split(",")):
        next_one = chain["order"]["layers"][len(layers)]
        if next_one != index:
            raise SystemExit(f"{folder}: layer {next_one} is the next in its order, {run} has layer {index}")
        variant = variant_of(options, index)
        if any(getattr(variant, name) != getattr(stored_variant(chain["variant"]), name) for name in OF_ALL):
            raise SystemExit(f"{run}: layer {index} is {variant}; it must have {', '.join(OF_ALL)} as {folder} has them")
        file = f"layer-{index:02}.safetensors"
        done = json.loads((run / file).with_suffix(".json").read_text())
        layer = DslaLayer(network.config, variant, network.attention_parameters(index), 0)
        save_layer(load_layer(layer, run / file), folder / file, torch.bfloat16)
        converted[index] = load_layer(layer, folder / file)
        entry = {
            "layer": index,
            "file": file,
            "checksum": xxhash.xxh3_128_hexdigest((folder / file).read_bytes()),
            "losses": {
                "made_by": MADE_BY,
                "options": {name: value for name, value in options.items() if name not in FOLDERS},
                "steps": {name: f"{stage['step']} of {stage['steps']}" for name, stage in done.items()},
                "tokens": sum(stage["rows"] for stage in done.values()),
                "chained": {"kl": compare(network, converted, batches)["kl"]},
                "gates": gates(network, converted, index, batches),
            },
        }
        if options.get("start") and replaced.get(index, {}).get("made_by") == MADE_BY:
            entry["losses"]["started_from"] = replaced[index]
        own = own_variant(variant, chain["variant"])
        layers.append({**entry, "variant": own} if own else entry)
    return {**chain, "layers": layers, "plans": plans}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--chain", type=Path, required=True)
    args = parser.parse_args(arguments)
    network, books = Network.load(args.model), Logbooks(args.model)
    with locked(args.chain / "chain.json") as new_file:
        chain = json.loads((args.chain / "chain.json").read_text())
        chain = with_layers(chain, args.chain, args.run, network, books)
        new_file.write(json.dumps(chain, indent=1) + "\n")
        new_file.flush()
        os.fsync(new_file.fileno())
        os.rename(new_file.name, args.chain / "chain.json")


if __name__ == "__main__":
    main()
