"""Chat templates like those of rerankers that are language models, shorter."""

__all__ = ["CHATML", "GEMMA", "MIXEDBREAD", "PARTS", "QWEN", "WORDS", "ZERANK"]

WORDS = ("yes", "no", "Yes", "<|im_start|>", "<|im_end|>")
"""What their tokenizers have a token for."""

QWEN = (
    "{%- set instruction = messages | selectattr('role', 'eq', 'system') | map(attribute='content') | first"
    " | default('Find what answers') -%}\n"
    "<|im_start|>system\nJudge: yes or no.<|im_end|>\n<|im_start|>user\n"
    "<Instruct>: {{ instruction }}\n"
    "<Query>: {{ messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first }}\n"
    "<Document>: {{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n\n"
)
"""Like that of Qwen3-Reranker."""

ZERANK = (
    "{%- for message in messages if message.role == 'query' -%}<|im_start|>system\n"
    "{{ message.content | trim }}<|im_end|>{%- endfor %}\n"
    "{%- for message in messages if message.role == 'document' -%}<|im_start|>user\n{{ message.content }}<|im_end|>\n"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Like that of zerank-2, without an instruction and with an argument."""

MIXEDBREAD = (
    "<|im_start|>user\n"
    "{%- for message in messages if message.role == 'system' -%}instruction: {{ message.content }}\n{% endfor -%}"
    "query: {{ (messages | selectattr('role', 'eq', 'query') | first).content }} \n"
    "document: {{ (messages | selectattr('role', 'eq', 'document') | first).content }} \n"
    "Judge the relevance with 0 or 1.\nRelevance:<|im_end|>\n<|im_start|>assistant\n"
)
"""Like that of mxbai-rerank-v2."""

GEMMA = (
    "{{ bos_token }}A: {{ (messages | selectattr('role', 'eq', 'query') | first).content }}\n"
    "B: {{ (messages | selectattr('role', 'eq', 'document') | first).content }}\n"
    "{% for message in messages if message.role == 'system' %}{{ message.content }}{% else %}Is B the answer to A?"
    "{% endfor %}"
)
"""Like the prompt of bge-reranker-v2-gemma: the instruction is last."""

PARTS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{{ part.text if part.type == 'text' }}{% endfor %}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
"""Content in typed parts, as in multimodal models."""

CHATML = (
    "{% for message in messages if message['role'] in ('user', 'assistant') %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
)
"""That of a chat model."""
