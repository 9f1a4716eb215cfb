"""What Hugging Face transformers makes of 20 real texts with SmolLM2-135M-Instruct, greedily, in float32.

    python3 make_smollm2.py FOLDER    # with PyPI's torch and transformers; FOLDER: the model; writes smollm2/greedy.json

Where the two likeliest tokens are closer than rounding may be, the continuation ends before that token.
test_model_smollm2 holds dslad-model to it where DSLAD_SMOLLM2 names the folder.
"""

import json
import pathlib
import re
import sys

import torch
import transformers

HERE = pathlib.Path(__file__).parent
TEXTS = HERE.parent.parent / "packaging" / "demo-model" / "documents"
PROMPTS, NEW_TOKENS, CLEAR_MARGIN = 20, 48, 1e-3


def prompts():
    """Beginnings of different lengths, cut between words: 20 places of two public-domain stories."""
    for i in range(PROMPTS):
        text = (TEXTS / ("alice-1.txt" if i % 2 else "selfish-giant.txt")).read_text()
        words = re.findall(r"\S+\s*", text)
        begin = 37 * i
        yield "".join(words[begin : begin + 20 + 25 * i]).rstrip()


def greedy(model, ids):
    """New tokens, each the likeliest by a clear margin."""
    out = []
    past, step = None, torch.tensor([ids])
    for _ in range(NEW_TOKENS):
        result = model(step, past_key_values=past, use_cache=True)
        past, logits = result.past_key_values, result.logits[0, -1]
        best = torch.topk(logits, 2)
        token = int(best.indices[0])
        if float(best.values[0] - best.values[1]) < CLEAR_MARGIN or token in (0, 2):
            break
        out.append(token)
        step = torch.tensor([[token]])
    return out


def main():
    folder = sys.argv[1]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cases = []
    with torch.no_grad():
        for prompt in prompts():
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            cases.append({"prompt": prompt, "prompt_ids": ids, "ids": greedy(model, ids)})
    out = HERE / "smollm2"
    out.mkdir(exist_ok=True)
    versions = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    (out / "greedy.json").write_text(json.dumps({"made_with": versions, "cases": cases}, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
