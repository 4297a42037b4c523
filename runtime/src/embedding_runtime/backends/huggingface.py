"""transformers' model code with sentence-transformers' pooling, in torch, on a GPU where there is one.

`import sentence_transformers` costs seconds at start and gives nothing that a Transformer + Pooling (+ Normalize)
model needs: its few lines of pooling are below, and the tests compare every vector with its own.
"""

import logging
from collections.abc import Callable, Sequence

import torch
import transformers
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, PreTrainedModel

from embedding_runtime.backends import onednn, packed, padded
from embedding_runtime.contract import Dtype
from embedding_runtime.modelspec import ModelRefused, ModelSpec, Pooling
from embedding_runtime.wire import TokenIds, VectorRows

__all__ = ["HuggingFaceBackend", "load", "pool"]

_log = logging.getLogger(__name__)

Forward = Callable[[PreTrainedModel, Sequence[TokenIds]], Tensor]
"""Texts in rising order of length -> the hidden states of their tokens, end to end: shape (tokens, hidden)."""


class HuggingFaceBackend:
    """One model and one way through it."""

    def __init__(self, model: PreTrainedModel, spec: ModelSpec, forward: Forward) -> None:
        self._model, self._spec, self._forward = model, spec, forward
        self.detail = (
            f"transformers {transformers.__version__}, torch {torch.__version__} on {model.device.type} "
            f"in {spec.dtype}, {forward.__module__.rpartition('.')[2]} batches"
        )

    @torch.inference_mode()
    def embed(self, batch: Sequence[TokenIds]) -> VectorRows:
        order = sorted(range(len(batch)), key=lambda place: len(batch[place]))
        texts = [batch[place] for place in order]
        pooled = pool(self._forward(self._model, texts).float(), [len(text) for text in texts], self._spec.pooling)
        rows = torch.empty_like(pooled)
        rows[torch.tensor(order, device=rows.device)] = normalize(pooled, dim=1) if self._spec.normalize else pooled
        return rows.cpu().numpy()


def pool(hidden: Tensor, lengths: Sequence[int], pooling: Pooling) -> Tensor:
    """(tokens, hidden), texts end to end -> (texts, hidden)."""
    counts = torch.tensor(lengths, device=hidden.device)
    ends = counts.cumsum(0)
    match pooling:
        case Pooling.CLS:
            return hidden[ends - counts]
        case Pooling.LAST_TOKEN:
            return hidden[ends - 1]
        case Pooling.MEAN:
            owner = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), counts)
            sums = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add_(0, owner, hidden)
            return sums / counts[:, None]


def load(spec: ModelSpec) -> HuggingFaceBackend:
    """Packed where the model's vectors stay the same, padded where they do not. Raises ModelRefused."""
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = _weights(spec)
    safe = HuggingFaceBackend(model, spec, padded.forward)
    probes = _probes(spec)
    alone = torch.cat([torch.from_numpy(safe.embed([probe])) for probe in probes])
    before = model.config._attn_implementation  # noqa: SLF001 transformers has a public setter, but no getter
    try:
        if model.device.type == "cpu" and spec.dtype is Dtype.FLOAT32:
            onednn.use_for_linear_layers(model)
        packed.prepare(model)
        fast = HuggingFaceBackend(model, spec, packed.forward)
        together = torch.from_numpy(fast.embed(probes))
        off = 1 - torch.cosine_similarity(alone.double(), together.double()).min().item()
        if not off <= _TOLERANCE[spec.dtype]:  # NaN is off, too
            raise packed.NotPackable(f"texts together are off by {off:.1e} from each alone")  # noqa: TRY301
    except Exception as error:  # noqa: BLE001 whatever a model's own code raises, the padded way is its usual one
        _log.warning("batches are padded, which is slower: %s cannot be packed (%s)", type(model).__name__, error)
        model.set_attn_implementation(before)
        return safe
    return fast


_TOLERANCE = {Dtype.FLOAT32: 1e-6, Dtype.FLOAT16: 1e-4, Dtype.BFLOAT16: 1e-3}
"""Largest distance (1 - cosine) between a text packed among others and the same text alone."""


def _weights(spec: ModelSpec) -> PreTrainedModel:
    try:
        model, loading = AutoModel.from_pretrained(
            spec.directory, dtype=getattr(torch, spec.dtype), local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError) as error:  # transformers' words for files that are missing or not what it knows
        raise ModelRefused(f"transformers cannot load {spec.directory}: {' '.join(str(error).split())}") from error
    # transformers fills what the files lack with random numbers. Its own pooler is not used here.
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ModelRefused(f"the weights in {spec.directory} lack {', '.join(missing[:3])} ({len(missing)} in all)")
    on_device: PreTrainedModel = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return on_device


def _probes(spec: ModelSpec) -> list[TokenIds]:
    """Texts of few, equal and many tokens: what would show if one saw another, or its own place wrongly."""
    generator = torch.Generator().manual_seed(1)
    lengths = [min(length, spec.max_length) for length in (2, 9, 9, 40, 300)]
    return [torch.randint(spec.vocabulary, (n,), generator=generator, dtype=torch.int32).numpy() for n in lengths]
