"""transformers' model code with sentence-transformers' pooling, in torch, on a GPU where there is one.

`import sentence_transformers` costs seconds at start and gives nothing that a Transformer + Pooling (+ Dense,
Normalize) model needs: its pooling is in `pooling`, and the tests compare every vector with its own.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import Tensor
from transformers import (
    PreTrainedModel,
)

from embedding_runtime.contract import Dtype, Quantization
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.protocol.messages import VectorRows
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import (
    bert,
    bert_gpu,
    cores,
    linear,
    low_precision,
    packed,
    padded,
    remote_code,
    transformer,
)
from embedding_runtime.worker.backends.base import LoadOptions
from embedding_runtime.worker.backends.device import HostCopy, prepare_gpu, rounded_up
from embedding_runtime.worker.backends.failure import batch_failed
from embedding_runtime.worker.backends.padded import Forward, Width
from embedding_runtime.worker.backends.self_test import SelfTest
from embedding_runtime.worker.backends.transformer import Rows

__all__ = ["HuggingFaceBackend", "as_it_comes", "load"]

_log = logging.getLogger(__name__)

_CPU_BATCH_TOKENS = 1024
"""Measured: 2,048 are as fast, and whoever waits does so for twice as long; 512 and 4,096 are slower."""

_DEFAULTS = LoadOptions()

_GPU_BATCH_TOKENS = 16_384
"""Measured on an H200: 8,192 are a tenth slower a token; 32,768 hardly faster, and twice as long to wait for."""


class HuggingFaceBackend:
    """One model and one way through it."""

    def __init__(
        self,
        forward: Forward,
        head: Rows,
        detail: str,
        use_half_the_cores: Callable[[], None] | None = None,
        *,
        packs: bool = False,
        width: Width = max,
        sorts: bool = True,
    ) -> None:
        """`use_half_the_cores` as in Backend. `packs`: `forward` pads nothing. `width`: of the rows where it does.

        `sorts`: `forward` wants texts in rising order of length.
        """
        self._forward, self._head, self.detail, self._packs = forward, head, detail, packs
        self._width, self._sorts = width, sorts
        self.use_half_the_cores = use_half_the_cores
        self.cosine: float | None = None
        self.batch_tokens = _GPU_BATCH_TOKENS if torch.cuda.is_available() else _CPU_BATCH_TOKENS
        self.launch = self._launch if torch.cuda.is_available() else None

    def embed(self, batch: TokenBatch) -> VectorRows:
        return self._launch(batch).rows()

    @torch.inference_mode()
    def _launch(self, batch: TokenBatch) -> "_Launched":
        try:
            order = self._order(batch)
            texts = batch if order is None else batch.reordered(order)
            return _Launched(HostCopy(self._head(self._forward(texts), texts.lengths.tolist())), order)
        except Exception as error:
            raise batch_failed(error) from error

    def padding(self, batch: TokenBatch) -> int:
        return 0 if self._packs else padded.padding(sorted(batch.lengths.tolist()), self._width)

    def _order(self, batch: TokenBatch) -> npt.NDArray[np.int64] | None:
        """The order in which texts are computed; None: as they are."""
        if not self._sorts or len(batch) == 1 or (np.diff(batch.lengths.astype(np.int64)) >= 0).all():
            return None
        return np.argsort(batch.lengths, kind="stable")


class _Launched:
    """A batch that a GPU is computing, or a CPU has computed."""

    def __init__(self, rows: HostCopy, order: npt.NDArray[np.int64] | None) -> None:
        self._rows, self._order = rows, order
        self.is_done = rows.is_done

    def rows(self) -> VectorRows:
        try:
            found: VectorRows = self._rows.wait()
        except Exception as error:
            raise batch_failed(error) from error
        if self._order is None:
            return found
        rows = np.empty_like(found)
        rows[self._order] = found
        return rows


def load(spec: ModelSpec, options: LoadOptions = _DEFAULTS) -> HuggingFaceBackend:
    """Packed where the model's vectors stay the same, padded where they do not. Raises ModelRefused."""
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    remote_code.check(spec)
    if torch.cuda.is_available():
        prepare_gpu()
        if spec.quantize is not Quantization.NONE:
            raise ModelRefused(f"--quantize={spec.quantize} is not supported on GPUs: use --dtype=float16")
    elif spec.is_reduced:
        return _reduced(spec, options)
    return _in_its_type(spec, options)


def _reduced(spec: ModelSpec, options: LoadOptions) -> HuggingFaceBackend:
    """With less precision than the model's files have, measured against float32. Raises ModelRefused."""
    precision = low_precision.precision_of(spec)
    asked = precision.name
    loaded = transformer.load(replace(spec, dtype=Dtype.FLOAT32, quantize=Quantization.NONE))
    model, compared, probes = loaded.model, loaded.compared, loaded.probes
    exact = SelfTest.of(_trusted(model, compared), probes, Dtype.FLOAT32)
    backend: HuggingFaceBackend | None = None
    if precision.make is not None and bert.written_out(model):
        forward = bert.prepare(model, precision.make)
        measured = HuggingFaceBackend(forward, compared, "as measured")
        measured.embed(probes)
        precision.finish()
        backend = HuggingFaceBackend(
            forward,
            loaded.head,
            f"{_versions(model)} in {asked}, fused, packed batches",
            cores.one_of_two(),
            packs=True,
        )
        problem = SelfTest.of(measured, probes, Dtype.FLOAT16).problem(measured)
        if problem is not None:
            raise ModelRefused(f"{spec.directory} in {asked}: {problem}")
    elif spec.quantize is not Quantization.NONE:
        raise ModelRefused(
            f"--quantize={spec.quantize} is not supported for {type(model).__name__} in {spec.directory}, but for "
            f"{', '.join(bert.NAMES)} with exact GELU: remove --quantize"
        )
    elif spec.scores is not None:
        return _in_its_type(spec, options)  # of one score there is no cosine
    else:
        del loaded, model, compared
        measured = backend = _in_its_type(spec, options)
    cosine = exact.cosine(measured)
    if exact.alone.isfinite().all() and not cosine >= options.minimum_cosine:  # of NaN the worker has its own words
        raise ModelRefused(
            f"the model in {spec.directory} has a cosine similarity of {cosine:.5f} to float32 in {asked}, which is "
            f"below --minimum_cosine={options.minimum_cosine:g}: use float32, or lower the minimum"
        )
    _log.info("%s: the lowest cosine similarity to float32 is %.5f (%d probes)", asked, cosine, len(probes))
    backend.cosine = cosine
    return backend


def _in_its_type(spec: ModelSpec, options: LoadOptions) -> HuggingFaceBackend:
    loaded = transformer.load(spec)
    model, compared = loaded.model, loaded.compared
    detail = f"{_versions(model)} in {spec.dtype}"
    width = _width(model, spec)
    test = SelfTest.of(_trusted(model, compared), loaded.probes, spec.dtype)
    before = model.config._attn_implementation  # noqa: SLF001 transformers has a public setter, but no getter
    for way, prepare in _ways(model, width):
        try:
            forward = prepare(model)
            why = test.problem(HuggingFaceBackend(forward, compared, detail))
        except Exception as error:
            if isinstance(error.__cause__, packed.KernelFailed) and not options.allow_padded:
                raise ModelRefused(
                    f"attention over packed batches failed for {type(model).__name__} in {spec.directory} "
                    f"({error.__cause__}): install the version of torch that this runtime requires, or accept slower, "
                    "padded batches with --allow_padded"
                ) from error
            why = str(error)
        if why is None:
            # Packed forwards keep nothing between calls; of a model's own ways with padding, or of code that came with
            # it, nobody knows that.
            packs = way != "padded"
            on_half = cores.one_of_two() if packs and not spec.remote_code and model.device.type == "cpu" else None
            sorts = not packs or packed.wants_order(model)
            return HuggingFaceBackend(
                forward, loaded.head, f"{detail}, {way} batches", on_half, packs=packs, width=width, sorts=sorts
            )
        _log.warning("%s cannot use %s batches: %s", type(model).__name__, way, why)
        model.set_attn_implementation(before)
    loaded = transformer.load(spec)
    model, head, compared = loaded.model, loaded.head, loaded.compared
    detail = f"{detail}, unchanged layers"
    in_rows = padded.prepare(model, width)
    why = test.problem(HuggingFaceBackend(in_rows, compared, detail))
    if why is None or not test.alone.isfinite().all():  # of NaN the worker has its own words
        return HuggingFaceBackend(in_rows, head, f"{detail}, padded batches", width=width)
    if spec.remote_code:
        raise ModelRefused(f"the code that came with {spec.directory} mixes the texts of a batch: {why}")
    _log.warning("%s cannot use padded batches: %s", type(model).__name__, why)
    forward = partial(_one_by_one, padded.prepare(model))
    why = test.problem(HuggingFaceBackend(forward, compared, detail))
    if why is not None:
        raise ModelRefused(
            f"{type(model).__name__} in {spec.directory} returns different vectors for the same text: {why}"
        )
    return HuggingFaceBackend(forward, head, f"{detail}, texts one by one", packs=True)


def _trusted(model: PreTrainedModel, head: Rows) -> HuggingFaceBackend:
    """transformers' own way, without padding when texts come alone."""
    return HuggingFaceBackend(padded.prepare(model), head, "as it comes")


def _versions(model: PreTrainedModel) -> str:
    return f"transformers {transformers.__version__}, torch {torch.__version__} on {model.device.type}"


def _width(model: PreTrainedModel, spec: ModelSpec) -> Width:
    """Of padded rows: on a GPU few shapes, since each has a cost of its own."""
    if model.device.type == "cpu":
        return max
    return lambda lengths: rounded_up(max(lengths), spec.max_length)


def _one_by_one(forward: Forward, texts: TokenBatch) -> Tensor:
    """For models that see the padding of a batch, whatever the mask says."""
    return torch.cat([forward(text) for text in texts.singles()])


def _ways(model: PreTrainedModel, width: Width) -> Iterator[tuple[str, Callable[[PreTrainedModel], Forward]]]:
    """Through this model, the fastest first."""
    if model.device.type == "cpu" and model.dtype is torch.float32:
        if bert.written_out(model):
            yield "fused, packed", bert.prepare
        linear.use_for_linear_layers(model)
    if model.device.type == "cuda" and bert_gpu.written_out(model):
        yield "fused, packed", bert_gpu.prepare
    yield "packed", packed.prepare
    yield "padded", partial(padded.prepare, width=width)


def as_it_comes(spec: ModelSpec) -> SelfTest:
    """What another library's rows of the model have to be, of a cross-encoder with its activation.

    The model itself is let go. Raises ModelRefused.
    """
    loaded = transformer.load(spec, thorough=True)
    return SelfTest.of(_trusted(loaded.model, loaded.head), loaded.probes, spec.dtype)
