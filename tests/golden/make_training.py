"""Makes golden vectors of distillation: losses, gradients and loss curves of both stages, in float64.

    python3 make_training.py      # with the packages of packaging/demo-model/chain; writes training/

training/teacher        a random Llama, float32: a Hugging Face directory without tokenizer
training/teacher_qwen3, training/teacher_smollm3
                        models whose layers have what a Llama's need not: biases, norms of q and k, windows, no rotary
training/batches.json   four batches: ids, positions, labels (-1: none), kl_weight, segments [first row, rows, parent]
training/<variant>/
    layer-1.safetensors, layer-4.safetensors   converted already, below and above the one in training
    layer-2.safetensors                        the one in training, before its first step
    gradients.safetensors                      "<case>.<tensor>": before clipping, batch 0, of that start
    expected.json                              variant, losses of the cases, curves
Cases: "attention" and "hidden" are the layer-wise stage with that target, "chained" the chained one with the
weights in expected.json. A curve starts from layer-2.safetensors; step t trains on batch t mod 4 and gives
[learning rate, loss before the step, gradient norm before clipping].

Tensor names are those of the conversion chain's layer files. Expected values are float64 results of float32
inputs; gradients are rounded to float32. Definitions: packaging/demo-model/chain/README.md.
"""

import dataclasses
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM, SmolLM3Config, SmolLM3ForCausalLM

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "packaging/demo-model/chain"))

from batch import BatchBuilder  # noqa: E402
from layer_file import tensors_of  # noqa: E402
from network import Network  # noqa: E402
from optimizer import Optimizer, learning_rate  # noqa: E402
from stages import ChainedWeights, chained, layer_wise  # noqa: E402
from student import PAPER, DslaLayer, Variant  # noqa: E402

OUT = HERE / "training"
VOCAB, BATCHES, STEPS = 96, 4, 20
TRAINED, CONVERTED = 2, (1, 4)
VARIANTS = {
    "paper": PAPER,
    "rich": Variant(True, "softmax", True, True, history_bias=6.0, recency_bias=-6.0),
    "window": Variant(True, "softmax", True, True, window=7, history_bias=6.0, recency_bias=-6.0),
    "sinks": Variant(True, "softmax", True, True, window=7, sinks=3, history_bias=6.0, recency_bias=-6.0),
    "wide": Variant(True, "softmax_pair", True, True, window=7, history_bias=6.0, recency_bias=-6.0),
    "unrotated": Variant(False, "softmax_pair", True, True, window=7, history_bias=6.0, recency_bias=-6.0),
    "expanded": Variant(False, "softmax_pair", True, True, window=7, history_bias=6.0, recency_bias=-6.0, expand_k=2),
    "single": Variant(False, "softmax_pair", True, True, window=7, history_bias=6.0, states=1),
    "delta": Variant(False, "softmax_pair", True, True, window=7, history_bias=6.0, states=1, expand_k=2, delta=True),
}
OF_QWEN3 = {
    "qwen3_rotary": Variant(True, "softmax", True, True, window=7, history_bias=6.0, recency_bias=-6.0),
    "qwen3_expanded": VARIANTS["expanded"],
}
OF_SMOLLM3 = {"smollm3_rotary": OF_QWEN3["qwen3_rotary"], "smollm3_unrotated": VARIANTS["unrotated"]}
WEIGHTS = ChainedWeights(ce=1.0, align=0.1, kl=0.5)
PROJECTION_RATE = 0.3  # of the learning rate, for q, k, v and o
RATES = {"attention": (1e-2, 1e-3, 4), "hidden": (1e-2, 1e-3, 4), "chained": (3e-3, 3e-4, 4)}  # peak, lowest, warm-up


def make_teacher(name, config_class, model_class, **options):
    torch.manual_seed(7)
    config = config_class(
        hidden_size=32, intermediate_size=48, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, **options,
    )
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            if "norm" in parameter:
                weight.uniform_(0.5, 1.5)
            elif parameter.endswith("bias"):
                weight.normal_(0.0, 0.3)
            else:
                weight.normal_(0.0, 0.7 if "embed" in parameter else weight.shape[1] ** -0.5)
    model.save_pretrained(OUT / name)
    (OUT / name / "generation_config.json").unlink()
    return Network.load(OUT / name, torch.float64)


def make_batch(random):
    """A document with two questions, whose answers are labels, and a plain text. Some rows have no divergence."""
    def ids(rows):
        return torch.randint(3, VOCAB, (rows,), generator=random).tolist()

    def size(low, high):
        return int(torch.randint(low, high, (1,), generator=random))

    builder = BatchBuilder()
    rows = size(70, 100)
    document = builder.add([1] + ids(rows), rows + 2, [0.0, 0.5] * (rows // 2) + [0.25] * (rows % 2 + 1))
    for _ in range(2):
        builder.add(ids(size(12, 24)) + [2], 8, 1.0, document)
    rows = size(30, 60)
    builder.add([1] + ids(rows), 1, 1.0)
    return builder.build()


def as_json(batch):
    return {
        "ids": batch.ids.tolist(), "positions": batch.positions.tolist(), "labels": batch.labels.tolist(),
        "kl_weight": batch.kl_weight.tolist(), "segments": [list(s) for s in batch.segments],
    }


def make_layer(network, variant, index, moved):
    """As conversion starts it, every parameter moved by a little, rounded to float32."""
    layer = DslaLayer(network.config, variant, network.attention_parameters(index), seed=100 + index)
    random = torch.Generator().manual_seed(200 + index)
    with torch.no_grad():
        for p in layer.parameters():
            p += moved * torch.randn(p.shape, generator=random)
            p.copy_(p.float())
    return layer


def losses(network, layers, batch, case):
    """The loss and, chained, its parts."""
    if case == "chained":
        return chained(network, layers, TRAINED, batch, WEIGHTS)
    return layer_wise(network, layers, TRAINED, batch, case), {}


def curve(network, variant, batches, case):
    layers = {i: make_layer(network, variant, i, 0.05) for i in (*CONVERTED, TRAINED)}
    peak, lowest, warm_up = RATES[case]
    optimizer, out = Optimizer(layers[TRAINED], STEPS, peak, lowest, warm_up, projection_rate=PROJECTION_RATE), []
    for step in range(STEPS):
        loss, _ = losses(network, layers, batches[step % BATCHES], case)
        loss.backward()
        norm = float(optimizer.step(step))
        out.append([learning_rate(step, STEPS, peak, lowest, warm_up), loss.item(), norm])
    return out


def write_variant(name, teacher, variant, network, batches):
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    layers = {i: make_layer(network, variant, i, 0.05) for i in (*CONVERTED, TRAINED)}
    for index, layer in layers.items():
        save_file(tensors_of(layer, torch.float32), folder / f"layer-{index}.safetensors")
    expected = {
        "teacher": teacher, "variant": dataclasses.asdict(variant), "trained": TRAINED, "converted": CONVERTED, "steps": STEPS,
        "chained_weights": dataclasses.asdict(WEIGHTS), "weight_decay": 0.01, "betas": [0.9, 0.95], "epsilon": 1e-8,
        "clip": 1.0, "projection_rate": PROJECTION_RATE,
        "rates": {case: dict(zip(("peak", "lowest", "warm_up"), r)) for case, r in RATES.items()},
        "cases": {}, "curves": {},
    }
    gradients = {}
    for case in RATES:
        loss, parts = losses(network, layers, batches[0], case)
        loss.backward()
        expected["cases"][case] = {"loss": loss.item(), **{part: value.item() for part, value in parts.items()}}
        found = tensors_of(layers[TRAINED], torch.float32, of=lambda p: p.grad)
        gradients |= {f"{case}.{tensor}": value for tensor, value in found.items()}
        layers[TRAINED].zero_grad()
        expected["curves"][case] = curve(network, variant, batches, case)
        print(name, case, expected["cases"][case], "->", expected["curves"][case][-1])
    save_file(gradients, folder / "gradients.safetensors")
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def main():
    teachers = {
        "teacher": (make_teacher("teacher", LlamaConfig, LlamaForCausalLM), VARIANTS),
        "teacher_qwen3": (
            make_teacher("teacher_qwen3", Qwen3Config, Qwen3ForCausalLM, attention_bias=True, use_sliding_window=True,
                         sliding_window=20, max_window_layers=1), OF_QWEN3),
        # Of the layers that take part: the one in training and one beside it do not rotate.
        "teacher_smollm3": (
            make_teacher("teacher_smollm3", SmolLM3Config, SmolLM3ForCausalLM, attention_bias=True, mlp_bias=True,
                         pad_token_id=0, no_rope_layers=[1, 1, 0, 0, 1]), OF_SMOLLM3),
    }
    random = torch.Generator().manual_seed(11)
    batches = [make_batch(random) for _ in range(BATCHES)]
    (OUT / "batches.json").write_text(json.dumps([as_json(b) for b in batches]) + "\n")
    for teacher, (network, variants) in teachers.items():
        for name, variant in variants.items():
            write_variant(name, teacher, variant, network, batches)
    (OUT / "SOURCE.txt").write_text(
        f"Random weights and their training, written by ../make_training.py with torch {torch.__version__.split('+')[0]}.\n"
    )


if __name__ == "__main__":
    main()
