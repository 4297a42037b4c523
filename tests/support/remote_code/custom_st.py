"""A module in place of sentence-transformers' Transformer, with the interface of jina-embeddings-v3's."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

__all__ = ["Transformer"]

TASKS = ["retrieval.query", "retrieval.passage"]


class Transformer(nn.Module):
    save_in_root = True

    def __init__(  # noqa: PLR0917 jina's
        self,
        model_name_or_path: str,
        max_seq_length: int | None = None,
        model_args: dict[str, Any] | None = None,
        tokenizer_args: dict[str, Any] | None = None,
        config_args: dict[str, Any] | None = None,
        cache_dir: str | None = None,
        **_: Any,
    ) -> None:
        super().__init__()
        arguments = dict(model_args or {})
        self.default_task = arguments.pop("default_task", None)
        config = AutoConfig.from_pretrained(model_name_or_path, **(config_args or {}), cache_dir=cache_dir)
        self.auto_model = AutoModel.from_pretrained(model_name_or_path, config=config, cache_dir=cache_dir, **arguments)
        self.tokenizer = AutoTokenizer.from_pretrained(
            model_name_or_path, cache_dir=cache_dir, **(tokenizer_args or {})
        )
        self.max_seq_length = max_seq_length

    def forward(self, features: dict[str, Tensor], task: str | None = None) -> dict[str, Tensor]:
        task = task or self.default_task
        adapters = {}
        if task is not None:
            ids = features["input_ids"]
            adapters["adapter_mask"] = torch.full((len(ids),), TASKS.index(task), device=ids.device)
        features.pop("prompt_length", None)
        features["token_embeddings"] = self.auto_model(**features, **adapters, return_dict=True)[0]
        return features

    def get_word_embedding_dimension(self) -> int:
        size: int = self.auto_model.config.hidden_size
        return size

    def tokenize(self, texts: list[str], padding: bool = True) -> dict[str, Tensor]:  # noqa: FBT001, FBT002 its interface
        found: dict[str, Tensor] = self.tokenizer(
            texts, padding=padding, truncation=True, max_length=self.max_seq_length, return_tensors="pt"
        )
        return found

    def save(self, output_path: str) -> None:
        self.auto_model.save_pretrained(output_path)

    @staticmethod
    def load(input_path: str) -> "Transformer":
        settings = json.loads((Path(input_path) / "sentence_bert_config.json").read_text())
        return Transformer(input_path, **settings)
