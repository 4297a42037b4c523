"""Batches without padding: texts are concatenated to one row, and only attention separates them.

Linear layers, norms and activations compute each token by itself, so they do not depend on where a text ends. For
attention, transformers accepts a custom function. On a CPU this one calls transformers' own for each text (texts of
equal length together). On a GPU it uses torch's kernels for concatenated texts: FlashAttention for the data types that
it supports, otherwise (float32, and GPUs older than Ampere) the memory-efficient kernel. The ends of the texts are
passed through the model's keyword arguments.
"""

import inspect
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface

from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.device import to_device
from embedding_runtime.worker.backends.padded import Forward
from embedding_runtime.worker.backends.runs import Run, runs_of

__all__ = [
    "KernelFailed",
    "Layout",
    "NotPackable",
    "attend_at_once",
    "padding_of",
    "positions_of",
    "prepare",
    "wants_order",
]

_NAME = "embedding_runtime_packed"

_STRETCHED = ("dynamic", "longrope")
"""Types of rotary positions in transformers that depend on the length of a batch, and keep it in the module."""


class NotPackable(Exception):
    """The model's attention depends on more than the start and the end of each text."""


class KernelFailed(Exception):
    """The installed version of torch cannot compute attention over concatenated texts, whatever the model."""


class Layout:
    """The positions of the texts in a row. All layers share one."""

    def __init__(self, lengths: Sequence[int], device: torch.device, ends: Tensor | None = None) -> None:
        """`ends`: see the property; if they are already on the device."""
        self.longest = max(lengths)
        self._lengths, self._device = lengths, device
        if ends is not None:
            self.ends = ends

    @cached_property
    def runs(self) -> Sequence[Run]:
        """The runs that cover the texts, in their order."""
        return tuple(runs_of(self._lengths))

    @cached_property
    def ends(self) -> Tensor:
        """0, then the place after the last token of each text: shape (texts + 1,), int32."""
        return to_device(np.cumsum([0, *self._lengths], dtype=np.int32), self._device)


def prepare(model: PreTrainedModel) -> Forward:
    """Return a packed forward function, for texts sorted by ascending length. The model's own forward then mixes texts.

    Raises NotPackable.
    """
    # A model that computes positions itself would count through all texts of a batch, beyond its last position. On a
    # CPU that is an IndexError, which the self test catches; on a GPU an assertion, after which the device is unusable.
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise NotPackable("the model computes positions itself")
    if any(getattr(module, "rope_type", "default") in _STRETCHED for module in model.modules()):
        raise NotPackable("the model scales positions by the longest text of a batch")
    if any(isinstance(module, nn.Conv1d) and module.kernel_size != (1,) for module in model.modules()):
        raise NotPackable("a convolution of the model would mix the texts of a batch where they meet")
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, lambda *_, **__: None)
    model.set_attn_implementation(_NAME)
    if model.config._attn_implementation != _NAME:  # noqa: SLF001 transformers only logs a failure
        raise NotPackable("the model's attention cannot be replaced")
    return partial(_forward, model, padding_of(model))


def _forward(model: PreTrainedModel, padding: int | None, texts: TokenBatch) -> Tensor:
    arrays = {"input_ids": texts.ids.astype(np.int64), "position_ids": positions_of(texts, padding)}
    if texts.types is not None:
        arrays["token_type_ids"] = texts.types.astype(np.int64)
    tensors = {name: to_device(values, model.device)[None] for name, values in arrays.items()}
    layout = Layout(texts.lengths.tolist(), model.device)
    hidden: Tensor = model(**tensors, layout=layout).last_hidden_state
    return hidden[0]


def wants_order(model: PreTrainedModel) -> bool:
    """Whether texts should be sorted by length, because those of equal length are computed together."""
    return model.device.type != "cuda" or (model.dtype is torch.float32 and hasattr(model.config, "sliding_window"))


def padding_of(model: PreTrainedModel) -> int | None:
    """The padding token id, if positions start after it (as in RoBERTa); None if they start at 0."""
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(getattr(module, "position_embeddings", None), nn.Embedding):
            return padding
    return None


def positions_of(texts: TokenBatch, padding: int | None) -> npt.NDArray[np.int64]:
    """Positions of all tokens of concatenated texts. `padding`: the result of `padding_of`.

    They are those of the model's own code, also for texts that contain the padding token.
    """
    lengths = texts.lengths.astype(np.int64)
    start = np.repeat(np.cumsum(lengths) - lengths, lengths)  # start of each token's text
    positions: npt.NDArray[np.int64]
    if padding is None:
        positions = np.arange(len(start)) - start
        return positions
    real = (texts.ids != padding).astype(np.int64)
    counted = np.cumsum(real)
    positions = (counted - (counted - real)[start]) * real + padding
    return positions


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query, key, value: (1, heads, tokens, head size); key and value may have fewer heads.

    Returns query's shape with heads and tokens swapped, as transformers' functions do.
    """
    unknown = [name for name in ("position_bias", "softcap", "s_aux") if kwargs.get(name) is not None]
    if attention_mask is not None or unknown:
        raise NotPackable(f"the model's attention uses {', '.join(unknown) or 'its own mask'}")
    causal = kwargs.get("is_causal")
    causal = bool(getattr(module, "is_causal", True) if causal is None else causal)  # as in transformers
    window = None if sliding_window is None or sliding_window >= layout.longest else sliding_window
    if _takes_flash(query) or (query.is_cuda and window is None):
        q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        scale = kwargs.get("scaling")
        return attend_at_once(q, k, v, layout, causal=causal, window=window, scale=scale)[None], None
    _, heads, tokens, size = query.shape
    out = query.new_empty(1, tokens, heads, size)
    for run in layout.runs:
        q, k, v = (_by_text(tensor, run) for tensor in (query, key, value))
        band = _band(run, window, query.device, causal=causal)
        seen, _ = sdpa_attention_forward(module, q, k, v, band, **kwargs)
        out[0, run.start : run.stop] = seen.reshape(-1, heads, size)
    return out, None


def _takes_flash(query: Tensor) -> bool:
    return (
        query.is_cuda
        and query.dtype in (torch.float16, torch.bfloat16)
        and torch.cuda.get_device_capability(query.device) >= _AMPERE
    )


_AMPERE = (8, 0)

_MAX_MESSAGE = 200
"""Maximum characters of torch's message, which lists every device."""


def attend_at_once(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    *,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """Attention over concatenated texts on a GPU, in one launch. All tensors: (tokens, heads, size).

    Key and value may have fewer heads. `window` needs `_takes_flash`. Raises KernelFailed.
    """
    try:
        if _takes_flash(query):
            return _flash(query, key, value, layout, causal=causal, window=window, scale=scale)
        return _memory_efficient(query, key, value, layout, causal=causal, scale=scale)
    except (AttributeError, NotImplementedError, TypeError) as error:  # this torch has no such operator
        raise KernelFailed(f"torch {torch.__version__}: {' '.join(str(error).split())[:_MAX_MESSAGE]}") from error


def _flash(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, *, causal: bool, window: int | None, scale: float | None
) -> Tensor:
    """One split, so that the results of a text do not depend on the longest text of the batch."""
    before = -1 if window is None else window - 1
    out = varlen_attn(
        query,
        key,
        value,
        layout.ends,
        layout.ends,
        layout.longest,
        layout.longest,
        scale=scale,
        window_size=(before, 0 if causal else before),
        enable_gqa=query.shape[1] != key.shape[1],
        num_splits=1,
    )
    assert isinstance(out, Tensor)  # noqa: S101 for mypy: with other arguments it is a tuple
    return out


def _memory_efficient(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, *, causal: bool, scale: float | None
) -> Tensor:
    """The kernel of scaled_dot_product_attention for nested tensors, which cost milliseconds per layer in Python.

    torch has no public function for it. If its parameters change, the caller raises KernelFailed.
    """
    shared = query.shape[1] // key.shape[1]  # the kernel needs as many heads of keys and values as of queries
    heads = (query, *(tensor.repeat_interleave(shared, 1) if shared > 1 else tensor for tensor in (key, value)))
    q, k, v = (tensor[None] for tensor in heads)
    out: Tensor
    out, *_ = torch.ops.aten._efficient_attention_forward(  # noqa: SLF001
        *(q, k, v),
        bias=None,
        cu_seqlens_q=layout.ends,
        cu_seqlens_k=layout.ends,
        max_seqlen_q=layout.longest,
        max_seqlen_k=layout.longest,
        dropout_p=0.0,
        custom_mask_type=int(causal),
        scale=scale,
    )
    return out[0]


def _by_text(tensor: Tensor, run: Run) -> Tensor:
    """(1, heads, tokens, size) -> (texts, heads, tokens of one, size)."""
    _, heads, _, size = tensor.shape
    return tensor[0, :, run.start : run.stop].reshape(heads, run.texts, -1, size).transpose(0, 1)


def _band(run: Run, window: int | None, device: torch.device, *, causal: bool) -> Tensor | None:
    """A mask that is True for tokens less than `window` apart. None if the text fits into one window."""
    if window is None or run.length <= window:
        return None
    places = torch.arange(run.length, device=device)
    behind = places[:, None] - places[None, :]
    return ((behind >= 0) & (behind < window) if causal else behind.abs() < window)[None, None]
