"""The novel encoder with a learned vector for each task, chosen by an argument, as jina-embeddings-v3 has adapters."""

from typing import Any

from torch import Tensor, nn

from .configuration_novel import NovelConfig
from .modeling_novel import NovelModel

__all__ = ["TaskModel"]


class TaskModel(NovelModel):
    def __init__(self, config: NovelConfig) -> None:
        super().__init__(config)
        self.tasks = nn.Embedding(2, config.hidden_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, *args: Any, adapter_mask: Tensor | None = None, **kwargs: Any) -> Any:
        found = super().forward(*args, **kwargs)
        if adapter_mask is not None:
            found.last_hidden_state = found.last_hidden_state + self.tasks(adapter_mask)[:, None]
        return found
