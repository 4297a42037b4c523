"""vLLM's dialect, with OpenAI's error format."""

from embedding_runtime.frontend.dialects.dialect import Dialect
from embedding_runtime.frontend.dialects.openai.errors import OpenAIError, format_error

__all__ = ["VLLM"]

VLLM = Dialect("vLLM", OpenAIError, format_error)
