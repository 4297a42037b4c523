"""vLLM's dialect, with OpenAI's error format."""

from embedding_runtime.frontend.dialects.dialect import Dialect
from embedding_runtime.frontend.dialects.openai.errors import OpenAIError, worded

__all__ = ["VLLM"]

VLLM = Dialect("vLLM", OpenAIError, worded)
