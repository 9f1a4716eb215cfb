"""Loads an exported model directory into model.py, in float32."""

import json
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import load_file

from model import Config, Llama


def load_exported(folder):
    settings = json.loads((Path(folder) / "config.json").read_text())
    model = Llama(Config(**{field.name: settings[field.name] for field in fields(Config)}))
    weights = load_file(Path(folder) / "model.safetensors")
    model.load_state_dict({name.removeprefix("model."): w.to(torch.float32) for name, w in weights.items()})
    return model.eval()
