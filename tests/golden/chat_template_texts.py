"""Chat templates in the makers' shapes, shortened where that changes nothing for one user's turn, with the special tokens of
their tokenizers."""

IM = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
LLAMA3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
S = ["<s>", "</s>"]
ALTERNATE = "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
GENERATE_IM = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
TURN_IM = "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"

def first_system(text):
    return ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n" + text +
            "<|im_end|>\\n' }}{% endif %}" + TURN_IM + "{% endfor %}" + GENERATE_IM)

QWEN25 = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\nYou may call one or more functions.\n\nSignatures are within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nFor each call, return <tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
QWEN3 = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {{- "# Tools\n\nYou may call one or more functions.<|im_end|>\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role + '\n<think>\n' + message.reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""
YI = ("{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
      "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}{% endif %}"
      "{% if system_message is defined %}{{ system_message }}{% endif %}{% for message in messages %}{% set content = message['content'] %}"
      "{% if message['role'] == 'user' %}{{ '<|im_start|>user\\n' + content + '<|im_end|>\\n<|im_start|>assistant\\n' }}"
      "{% elif message['role'] == 'assistant' %}{{ content + '<|im_end|>' + '\\n' }}{% endif %}{% endfor %}")
LLAMA2 = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
          "{% else %}{% set loop_messages = messages %}{% set system_message = SYSTEM %}{% endif %}{% for message in loop_messages %}"
          "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}" + ALTERNATE + "{% endif %}"
          "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
          "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
          "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
LLAMA3_FIRST = ("{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
                "'<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
                "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}")
LLAMA31 = r"""{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    DATE
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message + builtin tools #}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\n\n"}}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
        {{- "<|python_tag|>" + message.tool_calls[0].function.name }}
        {{- "<|eom_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""
DATE31 = '{%- set date_string = "26 Jul 2024" %}'
DATE32 = '{%- if strftime_now is defined %}\n        {%- set date_string = strftime_now("%d %b %Y") %}\n    {%- else %}\n        ' + DATE31 + "\n    {%- endif %}"
MISTRAL1 = ("{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}" + ALTERNATE + "{% endif %}"
            "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
            "{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}")

def mistral(before, after, tools=""):
    return r"""{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}TOOLS
        {%- if loop.first and system_message is defined %}
            {{- "BEFORE" + system_message + "\n\n" + message["content"] + "AFTER" }}
        {%- else %}
            {{- "BEFORE" + message["content"] + "AFTER" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
            {{- " " + message["content"] + eos_token}}
    {%- endif %}
{%- endfor %}
""".replace("BEFORE", before).replace("AFTER", after).replace("TOOLS", tools)

MISTRAL_TOOLS = r"""
        {%- if tools is defined and tools is not none %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {{- tools | tojson }}
            {{- "][/AVAILABLE_TOOLS]" }}
        {%- endif %}"""
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
PHI3 = ("{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
        "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
        "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
        "{% else %}{{ eos_token }}{% endif %}")
PHI3_FIRST = ("{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + "
              "'<|assistant|>' + '\n'}}{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}")
GEMMA = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
         "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}" + ALTERNATE + "{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
         "{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}")
VICUNA = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'].strip() + '\\n\\n' %}"
          "{% else %}{% set loop_messages = messages %}{% set system_message = '' %}{% endif %}{{ bos_token + system_message }}{% for message in loop_messages %}"
          "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'].strip() + '\\n' }}{% elif message['role'] == 'assistant' %}"
          "{{ 'ASSISTANT: ' + message['content'].strip() + eos_token + '\\n' }}{% endif %}{% if loop.last and message['role'] == 'user' and add_generation_prompt %}"
          "{{ 'ASSISTANT:' }}{% endif %}{% endfor %}")
CURIOUS = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful answers to the user's questions."
VICUNA_LINE = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{{ messages[0]['content'] + ' ' }}{% else %}"
               "{% set loop_messages = messages %}{{ \"" + CURIOUS + " \" }}{% endif %}{% for message in loop_messages %}{% if message['role'] == 'user' %}"
               "{{ 'USER: ' + message['content'] + ' ' }}{% else %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
               "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
DEEPSEEK = ("{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}{% for message in messages %}"
            "{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n\n' }}{% elif message['role'] == 'assistant' %}"
            "{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}")
CODER = ("{% if not add_generation_prompt is defined %}\n{% set add_generation_prompt = false %}\n{% endif %}\n{%- set ns = namespace(found=false) -%}\n"
         "{%- for message in messages -%}\n    {%- if message['role'] == 'system' -%}\n        {%- set ns.found = true -%}\n    {%- endif -%}\n{%- endfor -%}\n"
         "{{bos_token}}{%- if not ns.found -%}\n{{'You are an AI programming assistant, and you only answer questions related to computer science.\\n'}}\n{%- endif %}\n"
         "{%- for message in messages %}\n    {%- if message['role'] == 'system' %}\n{{ message['content'] }}\n    {%- else %}\n        {%- if message['role'] == 'user' %}\n"
         "{{'### Instruction:\\n' + message['content'] + '\\n'}}\n        {%- else %}\n{{'### Response:\\n' + message['content'] + '\\n<|EOT|>\\n'}}\n        {%- endif %}\n"
         "    {%- endif %}\n{%- endfor %}\n{% if add_generation_prompt %}\n{{'### Response:'}}\n{% endif %}")
R1 = ("{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system_prompt='') %}"
      "{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}"
      "{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}"
      "{%- if message['role'] == 'assistant' and message['content'] is none %}{{'<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>'}}{%- endif %}"
      "{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}"
      "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor -%}{%- if ns.is_tool %}{{'<｜tool▁outputs▁end｜>'}}{%- endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜>THINK'}}{% endif %}")
R1_NAMES = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]
SMOL = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
# It ends its system turn where there are tools, and nowhere else; later copies always do.
SMOLLM3 = r"""{# ───── defaults ───── #}
{%- if enable_thinking is not defined -%}
{%- set enable_thinking = true -%}
{%- endif -%}

{# ───── reasoning mode ───── #}
{%- if enable_thinking -%}
  {%- set reasoning_mode = "/think" -%}
{%- else -%}
  {%- set reasoning_mode = "/no_think" -%}
{%- endif -%}

{# ───── header (system message) ───── #}
{{- "<|im_start|>system\n" -}}

{%- if messages[0].role == "system" -%}
  {%- set system_message = messages[0].content -%}
  {%- if "/no_think" in system_message -%}
    {%- set reasoning_mode = "/no_think" -%}
  {%- elif "/think" in system_message -%}
    {%- set reasoning_mode = "/think" -%}
  {%- endif -%}
  {%- set custom_instructions = system_message.replace("/no_think", "").replace("/think", "").rstrip() -%}
{%- endif -%}

{%- if "/system_override" in system_message -%}
  {{- custom_instructions.replace("/system_override", "").rstrip() -}}
  {{- "<|im_end|>\n" -}}
{%- else -%}
  {{- "## Metadata\n\n" -}}
  {{- "Knowledge Cutoff Date: June 2025\n" -}}
  {%- set today = strftime_now("%d %B %Y") -%}
  {{- "Today Date: " ~ today ~ "\n" -}}
  {{- "Reasoning Mode: " + reasoning_mode + "\n\n" -}}

  {{- "## Custom Instructions\n\n" -}}
  {%- if custom_instructions -%}
    {{- custom_instructions + "\n\n" -}}
  {%- elif reasoning_mode == "/think" -%}
    {{- "You are a helpful AI assistant named SmolLM, trained by Hugging Face. Your role as an assistant involves thoroughly exploring questions.\n\n" -}}
  {%- else -%}
    {{- "You are a helpful AI assistant named SmolLM, trained by Hugging Face.\n\n" -}}
  {%- endif -%}

  {%- if xml_tools or python_tools -%}
    {{- "### Tools\n\n" -}}
    {%- if xml_tools -%}
      {%- set ns = namespace(xml_tool_string="You may call one or more functions.\n<tools>\n") -%}
      {%- for tool in xml_tools[:] -%} {# a list #}
        {%- set ns.xml_tool_string = ns.xml_tool_string ~ (tool | string) ~ "\n" -%}
      {%- endfor -%}
      {%- set xml_tool_string = ns.xml_tool_string + "</tools>" -%}
      {{- xml_tool_string -}}
    {%- endif -%}
    {{- "\n\n" -}}
    UNENDED
  {%- endif -%}
  ENDED
{%- endif -%}
{# ───── main loop ───── #}
{%- for message in messages -%}
  {%- set content = message.content if message.content is string else "" -%}
  {%- if message.role == "user" -%}
    {{ "<|im_start|>" + message.role + "\n"  + content + "<|im_end|>\n" }}
  {%- elif message.role == "assistant" -%}
    {% generation %}
    {%- if reasoning_mode == "/think" -%}
      {{ "<|im_start|>assistant\n" + content.lstrip("\n") + "<|im_end|>\n" }}
    {%- else -%}
      {{ "<|im_start|>assistant\n" + "<think>\n\n</think>\n" + content.lstrip("\n") + "<|im_end|>\n" }}
    {%- endif -%}
    {% endgeneration %}
  {%- elif message.role == "tool" -%}
    {{ "<|im_start|>" + "user\n"  + content + "<|im_end|>\n" }}
  {%- endif -%}
{%- endfor -%}
{# ───── generation prompt ───── #}
{%- if add_generation_prompt -%}
  {%- if reasoning_mode == "/think" -%}
    {{ "<|im_start|>assistant\n" }}
  {%- else -%}
    {{ "<|im_start|>assistant\n" + "<think>\n\n</think>\n"  }}
  {%- endif -%}
{%- endif -%}
"""
END_IM = '{{- "<|im_end|>\\n" -}}'
SMOLLM3_FIRST = SMOLLM3.replace("    UNENDED\n", "    " + END_IM + "\n").replace("  ENDED\n", "")
SMOLLM3_ENDED = SMOLLM3.replace("    UNENDED\n", "").replace("  ENDED\n", "  " + END_IM + "\n")
THINKING = QWEN25.replace("<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n", "").replace(
    "'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n'")
# The message as in Mistral Small 3.1, whose texts go on in the next line.
V7 = r"""{%- set today = strftime_now("%Y-%m-%d") %}
{%- set default_system_message = "You are a Large Language Model (LLM) created by Mistral AI.\
The current date is " + today + ".\
\
You \"ask\" where a question is not clear." %}

{{- bos_token }}

{%- if messages[0]['role'] == 'system' %}
    {%- if messages[0]['content'] is string %}
        {%- set system_message = messages[0]['content'] %}
    {%- else %}
        {%- set system_message = messages[0]['content'][0]['text'] %}
    {%- endif %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system_message = default_system_message %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- elif tools is not none %}
    {%- set system_message = "You can call tools." + system_message %}
{%- endif %}
{{- '[SYSTEM_PROMPT]' + system_message + '[/SYSTEM_PROMPT]' }}

{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif %}
{%- endfor %}

{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" + tools | tojson + "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if message['content'] is string %}
        {{- '[INST]' + message['content'] + '[/INST]' }}
        {%- else %}
                {{- '[INST]' }}
                {%- for block in message['content'] %}
                        {%- if block['type'] == 'text' %}
                                {{- block['text'] }}
                        {%- else %}
                                {{- '[IMG]' }}
                        {%- endif %}
                {%- endfor %}
                {{- '[/INST]' }}
        {%- endif %}
    {%- elif message["role"] == "tool_calls" or message.tool_calls is defined %}
        {{- "[TOOL_CALLS] [" }}
    {%- elif message['role'] == 'assistant' %}
        {{- message['content'] + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
"""
DEVSTRAL = V7.replace('strftime_now("%Y-%m-%d")', '"unknown"')
SMALL3 = ("{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST]' + message['content'] + '[/INST]' }}"
          "{% elif message['role'] == 'system' %}{{ '[SYSTEM_PROMPT]' + message['content'] + '[/SYSTEM_PROMPT]' }}{% elif message['role'] == 'assistant' %}"
          "{{ message['content'] + eos_token }}{% else %}{{ raise_exception('Only user, system and assistant roles are supported!') }}{% endif %}{% endfor %}")

def large_2411(system=""):
    return ("{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}{% set loop_messages = messages[1:] %}{% else %}" + system +
            "{% set loop_messages = messages %}{% endif %}{{ bos_token }}{% if system_message is defined %}{{ '[SYSTEM_PROMPT] ' + system_message + '[/SYSTEM_PROMPT]' }}"
            "{% endif %}{% for message in loop_messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + '[/INST]' }}"
            "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}")

V7_NAMES = S + ["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
ORCA = ("{%- for message in messages -%}{%- if message.role == 'system' -%}{{- 'SYSTEM: ' + message.content + '\n' -}}{%- elif message.role == 'user' -%}"
        "{{- 'USER: ' + message.content + '\n' -}}{%- elif message.role == 'assistant' -%}{{- 'ASSISTANT: ' + message.content + eos_token + '\n' -}}{%- endif -%}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}")
# For calls of tools alone; transformers cannot render it without.
HERMES_TOOLS = r"""{{- bos_token }}
{{- '<|im_start|>system
' }}
{{- "You are a function calling AI model. Here are the available tools: <tools> " }}
{%- for tool in tools %}
    {{- '{"type": "function", "function": ' }}
    {{- tool.parameters|tojson }}
    {{- "}" }}
{%- endfor %}
{{- " </tools>" }}
{{- '</tool_call><|im_end|>
' }}
{%- for message in messages %}
    {%- if message.role == "user" or message.role == "system" or (message.role == "assistant" and message.tool_calls is not defined) %}
        {{- '<|im_start|>' + message.role + '
' + message.content + '<|im_end|>' + '
' }}
    {%- elif message.role == "tool" %}
        {{- '<|im_start|>tool
' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant
' }}
{%- endif %}
"""
CHATML = "{% for message in messages %}" + TURN_IM + "{% endfor %}" + GENERATE_IM
# Fine-tunes' way with a system message.
FACTORY = ("{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}{% endif %}{% if system_message is defined %}"
           "{{ '<|im_start|>system\n' + system_message + '<|im_end|>\n' }}{% endif %}{% for message in messages %}{% set content = message['content'] %}"
           "{% if message['role'] == 'user' %}{{ '<|im_start|>user\n' + content + '<|im_end|>\n<|im_start|>assistant\n' }}"
           "{% elif message['role'] == 'assistant' %}{{ content + '<|im_end|>' + '\n' }}{% endif %}{% endfor %}")

# name, kind, template, special tokens, bos, eos[, more of the template's variables]
CASES = [
    ("SmolLM2", "ChatML", first_system(SMOL), IM, "<|im_start|>", "<|im_end|>"),
    ("Qwen 1.5", "ChatML", first_system("You are a helpful assistant."), IM, None, "<|endoftext|>"),
    ("Qwen 2.5", "ChatML", QWEN25, IM, None, "<|im_end|>"),
    ("Qwen 3", "ChatML without thinking", QWEN3, IM, None, "<|im_end|>", {"enable_thinking": False}),
    ("SmolLM3", "SmolLM3 without thinking", SMOLLM3_FIRST, IM, None, "<|im_end|>", {"enable_thinking": False}),
    ("SmolLM3 with an end of its system turn", "ChatML without thinking", SMOLLM3_ENDED, IM, None, "<|im_end|>", {"enable_thinking": False}),
    ("QwQ", "ChatML with thinking", THINKING, IM, None, "<|im_end|>"),
    ("ChatML with a default system message", "ChatML", FACTORY.replace("{% if messages[0]", "{% set system_message = 'Be brief.' %}{% if messages[0]", 1), IM, None, "<|im_end|>"),
    ("ChatML of a fine-tune", "ChatML", FACTORY, IM, None, "<|im_end|>"),
    ("ChatML of turns", "ChatML", FACTORY.replace("message in", "turn in").replace("message[", "turn["), IM, None, "<|im_end|>"),
    ("plain ChatML", "ChatML", "{% for message in messages %}" + TURN_IM + "{% endfor %}" + GENERATE_IM, IM, None, "<|im_end|>"),
    ("ChatML after bos", "ChatML", "{{bos_token}}{% for message in messages %}" + TURN_IM + "{% endfor %}" + GENERATE_IM, IM + S, "<s>", "<|im_end|>"),
    ("ChatML with a name of its own for a role", "ChatML", "{% set system_role = 'system' %}{% for message in messages %}" + TURN_IM + "{% endfor %}" + GENERATE_IM, IM, None, "<|im_end|>"),
    ("ChatML with a branch for a name that nobody gives", "ChatML", first_system("One.").replace("{% for", "{% if formal %}{{ '<|im_start|>system\\nTwo.<|im_end|>\\n' }}{% endif %}{% for", 1), IM, None, "<|im_end|>"),
    ("Yi", "ChatML", YI, IM, None, "<|im_end|>"),
    ("Llama 2", "Llama 2", LLAMA2.replace("SYSTEM", "false"), S, "<s>", "</s>"),
    ("Llama 2 with a system message", "Llama 2", LLAMA2.replace("SYSTEM", "'Answer in a friendly way.'"), S, "<s>", "</s>"),
    ("Llama 3", "Llama 3", LLAMA3_FIRST, LLAMA3, "<|begin_of_text|>", "<|eot_id|>"),
    ("Llama 3.1", "Llama 3.1", LLAMA31.replace("DATE\n", DATE31 + "\n"), LLAMA3, "<|begin_of_text|>", "<|eot_id|>"),
    ("Llama 3.2", "Llama 3.1", LLAMA31.replace("DATE\n", DATE32 + "\n"), LLAMA3, "<|begin_of_text|>", "<|eot_id|>", {"date_string": "26 Jul 2024"}),
    ("Mistral 0.1", "Mistral", MISTRAL1, S, "<s>", "</s>"),
    ("Mistral 0.2", "Mistral", mistral(" [INST] ", " [/INST]"), S, "<s>", "</s>"),
    ("Mistral 0.3", "Mistral", mistral("[INST] ", "[/INST]", MISTRAL_TOOLS), S + ["[INST]", "[/INST]"], "<s>", "</s>"),
    ("Mistral Nemo", "Mistral", mistral("[INST]", "[/INST]", MISTRAL_TOOLS), S + ["[INST]", "[/INST]"], "<s>", "</s>"),
    ("Mistral Large 2411", "Mistral v7", large_2411(), V7_NAMES, "<s>", "</s>"),
    ("Mistral Large 2411 with a system message", "Mistral v7", large_2411("{% set system_message = 'Be brief.' %}"), V7_NAMES, "<s>", "</s>"),
    ("Mistral Small 3", "Mistral v7", SMALL3, V7_NAMES, "<s>", "</s>"),
    ("Mistral Small 3.1", "Mistral v7", V7, V7_NAMES, "<s>", "</s>"),
    ("Devstral", "Mistral v7", DEVSTRAL, V7_NAMES, "<s>", "</s>"),
    ("Zephyr", "Zephyr", ZEPHYR, S, "<s>", "</s>"),
    ("Phi-3", "Phi-3", PHI3, S + ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"], "<s>", "<|end|>"),
    ("Phi-3 as first published", "Phi-3", PHI3_FIRST, S + ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"], "<s>", "</s>"),
    ("Gemma", "Gemma", GEMMA, ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], "<bos>", "<eos>"),
    ("Vicuna", "Vicuna", VICUNA, S, "<s>", "</s>"),
    ("Vicuna in a line", "Vicuna", VICUNA_LINE, S, "<s>", "</s>"),
    ("Vicuna of Orca", "Vicuna", ORCA, S, "<s>", "</s>"),
    ("DeepSeek", "DeepSeek", DEEPSEEK, R1_NAMES[:2], "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    ("DeepSeek Coder", "DeepSeek Coder", CODER, R1_NAMES[:2] + ["<|EOT|>"], "<｜begin▁of▁sentence｜>", "<|EOT|>"),
    ("DeepSeek R1 distilled", "DeepSeek R1", R1.replace("THINK", ""), R1_NAMES, *R1_NAMES[:2]),
    ("DeepSeek R1, thinking at once", "DeepSeek R1", R1.replace("THINK", "<think>\\n"), R1_NAMES, *R1_NAMES[:2]),
    # What must stay unknown: other turns, other control tokens, tokens that are not there.
    ("ChatML without its tokens", None, "{% for message in messages %}" + TURN_IM + "{% endfor %}" + GENERATE_IM, S, "<s>", "</s>"),
    ("ChatML with a separator", None, "{% for message in messages %}{{'<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>'}}{% endfor %}"
     "{{ '<|im_start|>assistant<|im_sep|>' }}", IM + ["<|im_sep|>"], None, "<|im_end|>"),
    ("ChatML with another opening", None, "{% for message in messages %}" + TURN_IM + "{% endfor %}{{ '<|im_start|>assistant\\n<|channel|>' }}", IM, None, "<|im_end|>"),
    ("ChatML in capitals", None, "{% for message in messages %}" + TURN_IM.replace("['role']", "['role'].upper()") + "{% endfor %}" + GENERATE_IM, IM, None, "<|im_end|>"),
    ("ChatML of humans", None, "{% for message in messages %}{% if message['role'] == 'user' %}{% set role = 'human' %}{% else %}{% set role = message['role'] %}{% endif %}"
     + TURN_IM.replace("message['role']", "role") + "{% endfor %}" + GENERATE_IM, IM, None, "<|im_end|>"),
    ("ChatML with two system messages", None, first_system("One.").replace("{% for", "{% if messages | length > 3 %}{{ '<|im_start|>system\\nTwo.<|im_end|>\\n' }}{% endif %}{% for", 1), IM, None, "<|im_end|>"),
    ("Mistral with a system prompt", None, "{{ bos_token + '[SYSTEM_PROMPT]You are.[/SYSTEM_PROMPT]' }}{% for message in messages %}{{ '[INST]' + message['content'] + '[/INST]' }}{% endfor %}", S, "<s>", "</s>"),
    ("Hermes 3 for tools", None, HERMES_TOOLS, IM + ["<|begin_of_text|>"], "<|begin_of_text|>", "<|im_end|>"),
    ("ChatML with a variable in its system turn", None, "{{ '<|im_start|>system\\nAnswer in ' + namespace(a='English').a + '.<|im_end|>\\n' }}" + CHATML, IM, None, "<|im_end|>"),
    ("ChatML with a system turn that depends on a condition", None, "{{ '<|im_start|>system\\n' }}{% if messages | length > 3 %}{{ 'A' }}{% else %}{{ 'B' }}{% endif %}{{ '<|im_end|>\\n' }}" + CHATML, IM, None, "<|im_end|>"),
    ("ChatML after a text", None, "{{ 'Hello.\\n' }}" + CHATML, IM, None, "<|im_end|>"),
    ("ChatML before a text", None, CHATML.replace("{% endfor %}", "{% endfor %}{{ 'Think.\\n' }}", 1), IM, None, "<|im_end|>"),
    ("ChatML in one branch of several", None, "{% for message in messages %}{% if messages | length > 3 %}{{ message['content'] }}{% else %}{{ '<|im_start|>user\\n' + message['content'] + '<|im_end|>\\n' }}"
     "{% endif %}{% endfor %}" + GENERATE_IM, IM, None, "<|im_end|>"),
    ("SmolLM3 with the hour", None, SMOLLM3_FIRST.replace("%d %B %Y", "%H o'clock"), IM, None, "<|im_end|>"),
    ("Vicuna after a text with a variable", None, "{{ 'SYSTEM: ' + messages[0]['name'] + '\\n' }}" + ORCA, S, "<s>", "</s>"),
    ("Phi-4 mini", None, "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}{{ '<|assistant|>' }}", S, "<s>", "</s>"),
    ("Alpaca", None, "{% for message in messages %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}{% endfor %}{{ '### Response:\\n' }}", S, "<s>", "</s>"),
    ("no template at all", None, "{% for message in messages", S, "<s>", "</s>"),
]
