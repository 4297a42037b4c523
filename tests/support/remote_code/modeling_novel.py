"""A small encoder, with what transformers' own models do not have: layers that begin with the square of their input."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_novel import NovelConfig

__all__ = ["NovelForSequenceClassification", "NovelModel"]


class NovelAttention(nn.Module):
    is_causal = False

    def __init__(self, config: NovelConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.size = config.hidden_size // config.num_attention_heads
        self.scaling = self.size**-0.5
        self.query, self.key, self.value = (nn.Linear(config.hidden_size, config.hidden_size) for _ in range(3))

    def forward(self, hidden: Tensor, mask: Tensor | None, **kwargs: Any) -> Tensor:
        shape = (*hidden.shape[:2], -1, self.size)
        query, key, value = (part(hidden).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, sdpa_attention_forward)
        seen, _ = attention(self, query, key, value, mask, scaling=self.scaling, **kwargs)
        together: Tensor = seen.reshape(hidden.shape)
        return together


class HomemadeAttention(NovelAttention):
    def forward(self, hidden: Tensor, mask: Tensor | None, **_: Any) -> Tensor:
        shape = (*hidden.shape[:2], -1, self.size)
        query, key, value = (part(hidden).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        return nn.functional.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).reshape(hidden.shape)


class NovelLayer(nn.Module):
    def __init__(self, config: NovelConfig, layer_idx: int) -> None:
        super().__init__()
        self.attention = (HomemadeAttention if config.homemade else NovelAttention)(config, layer_idx)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor | None, **kwargs: Any) -> Tensor:
        out: Tensor = self.norm(hidden + self.output(self.attention(hidden.square(), mask, **kwargs)))
        return out


class NovelModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    config_class = NovelConfig
    base_model_prefix = "novel"
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: NovelConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.places = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(NovelLayer(config, n) for n in range(config.num_hidden_layers))
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        hidden = self.words(input_ids) if inputs_embeds is None else inputs_embeds
        if position_ids is None:
            position_ids = torch.arange(hidden.shape[1], device=hidden.device)[None]
        hidden = hidden + self.places(position_ids)
        mask = create_bidirectional_mask(self.config, hidden, attention_mask)
        for layer in self.layers:
            hidden = layer(hidden, mask, **kwargs)
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=self.pooler(hidden[:, 0]))


class NovelForSequenceClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Scores with the first token."""

    config_class = NovelConfig
    base_model_prefix = "novel"
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: NovelConfig) -> None:
        super().__init__(config)
        self.novel = NovelModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels or 1)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, *args: Any, **kwargs: Any) -> SequenceClassifierOutput:
        kwargs.pop("return_dict", None)
        hidden = self.novel(*args, **kwargs).last_hidden_state
        return SequenceClassifierOutput(logits=self.classifier(hidden[:, 0]))
