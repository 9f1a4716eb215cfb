"""Tests with models that bring a chat template of their makers."""

import json
import shutil

from harness import MODEL, SystemTest

ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)


class ChatCase(SystemTest):
    def model_with(self, template):
        model = self.folder / "model"
        shutil.copytree(MODEL, model)
        (model / "dslad.toml").unlink(missing_ok=True)
        settings = model / "tokenizer_config.json"
        config = json.loads(settings.read_text()) if settings.exists() else {}
        settings.write_text(json.dumps({**config, "chat_template": template}))
        return model
