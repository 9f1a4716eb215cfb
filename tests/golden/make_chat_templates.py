"""What Hugging Face's transformers writes for chat templates in the shapes that makers of models use.

usage: make_chat_templates.py > chat_templates/cases.json      needs: transformers, jinja2
Each case is one of chat_template_texts.py, a user's text and the text before the model's answer; `kind` null: dslad must not
claim to know it.
"""
import datetime
import json
from chat_template_texts import CASES
from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import render_jinja_template

class Clock:
    """What dslad takes for today: answers must not differ by the day."""

    now = staticmethod(lambda: datetime.datetime(2025, 7, 8))

chat_template_utils.datetime = Clock

USER = "Who built it?\nJonas: {{ Field }} <|im_end|>\n "

def case(name, kind, jinja, special, bos, eos, more=None):
    expected = None
    if kind:
        tokens = {k: v for k, v in (("bos_token", bos), ("eos_token", eos)) if v}
        rendered, _ = render_jinja_template(conversations=[[{"role": "user", "content": USER}]], chat_template=jinja, add_generation_prompt=True,
                                            **tokens, **(more or {}))
        expected = rendered[0]
    return {"name": name, "kind": kind, "template": jinja, "special": special, "bos": bos, "eos": eos, "user": USER, "expected": expected}

print(json.dumps([case(*c) for c in CASES], ensure_ascii=False, indent=1))
