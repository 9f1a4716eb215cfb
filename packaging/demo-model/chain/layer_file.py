"""A converted layer's tensors under the names of the reference implementation, as the layer files store them."""

import torch
from safetensors.torch import load_file, save_file

NAMES = {
    "q_proj": "q_proj.weight",
    "k_proj": "k_proj.weight",
    "v_proj": "v_proj.weight",
    "o_proj": "o_proj.weight",
    "gk_proj": "gk_proj.weight",
    "gk_proj_bias": "gk_proj.bias",
    "gk_proj2": "gk_proj2.weight",
    "gk_proj2_bias": "gk_proj2.bias",
    "alpha_list": "alpha_list",
    "o_norm": "o_norm.weight",
    "state_share": "state_share",
    "b_proj": "b_proj.weight",
    "b_proj_bias": "b_proj.bias",
    "q_proj_bias": "q_proj.bias",
    "k_proj_bias": "k_proj.bias",
    "v_proj_bias": "v_proj.bias",
    "o_proj_bias": "o_proj.bias",
    "q_norm": "q_norm.weight",
    "k_norm": "k_norm.weight",
}


def tensors_of(layer, dtype, of=lambda parameter: parameter):
    """{name in the file: tensor}, of each parameter or of what `of` takes from it."""
    return {NAMES[name]: of(p).detach().to(dtype).contiguous() for name, p in layer.named_parameters()}


def save_layer(layer, path, matrices=torch.float32):
    """`matrices`: the type that projections are stored as; biases, alpha, norm and shares are float32."""
    tensors = tensors_of(layer, torch.float32)
    save_file({name: t.to(matrices) if name.endswith("proj.weight") or name == "gk_proj2.weight" else t
               for name, t in tensors.items()}, path)


def load_layer(layer, path):
    """Into a layer of the same variant."""
    stored = load_file(path)
    with torch.no_grad():
        for name, p in layer.named_parameters():
            p.copy_(stored[NAMES[name]])
    return layer
