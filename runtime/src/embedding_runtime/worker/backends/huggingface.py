"""The Hugging Face backend: transformers' models with sentence-transformers' pooling, on a GPU if there is one.

It does not import sentence_transformers, which takes seconds at startup and is not needed for the steps of a model
(Transformer, Pooling, Dense, Normalize). They are in `pooling`, and the tests compare the vectors.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from embedding_runtime.contract import Dtype, Kind, Quantization
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import (
    bert,
    bert_gpu,
    linear,
    low_precision,
    packed,
    padded,
    remote_code,
    token_heads,
    transformer,
)
from embedding_runtime.worker.backends.base import BatchFailed, LoadOptions
from embedding_runtime.worker.backends.device import prepare_gpu, rounded_up
from embedding_runtime.worker.backends.forward_backend import ForwardBackend
from embedding_runtime.worker.backends.padded import Forward, Width
from embedding_runtime.worker.backends.self_test import SelfTest
from embedding_runtime.worker.backends.transformer import ApplyHead

__all__ = ["load", "reference_test"]

_log = logging.getLogger(__name__)

_DEFAULTS = LoadOptions()


def load(spec: ModelSpec, options: LoadOptions = _DEFAULTS) -> ForwardBackend:
    """Load a model with the fastest forward function that does not change its vectors. Raises ModelRefused."""
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    remote_code.prepare(spec)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        prepare_gpu()
        if spec.quantize is not Quantization.NONE:
            raise ModelRefused(f"--quantize={spec.quantize} is not supported on GPUs: use --dtype=float16")
    backend = _load_reduced(spec, options) if spec.is_reduced and not on_gpu else _load_unreduced(spec, options)
    backend.heads.update(token_heads.load(spec, torch.device("cuda" if on_gpu else "cpu")))
    return backend


def _load_reduced(spec: ModelSpec, options: LoadOptions) -> ForwardBackend:
    """Load a model with less precision than its files have, and compare it with float32. Raises ModelRefused."""
    precision = low_precision.precision_of(spec)
    name = precision.name
    unreduced = replace(spec, dtype=Dtype.FLOAT32, quantize=Quantization.NONE)
    loaded = transformer.load(unreduced)
    model, tested_head, probes = loaded.model, loaded.tested_head, loaded.probes
    exact = _self_test(unreduced, loaded, tested_head)
    backend: ForwardBackend | None = None
    if precision.make is not None and bert.is_supported(model):
        forward = bert.prepare(model, precision.make)
        measured = ForwardBackend(forward, tested_head, "as measured")
        measured.embed(probes)
        precision.finish()
        backend = ForwardBackend(
            forward,
            loaded.head,
            f"{_versions(model)} in {name}, fused, packed batches",
            packs=True,
            halves=True,
        )
        problem = SelfTest.of(measured, probes, Dtype.FLOAT16).problem(measured)
        if problem is not None:
            raise ModelRefused(f"{spec.directory} in {name}: {problem}")
    elif spec.quantize is not Quantization.NONE:
        raise ModelRefused(
            f"--quantize={spec.quantize} is not supported for {type(model).__name__} in {spec.directory}, but for "
            f"{', '.join(bert.NAMES)} with exact GELU: remove --quantize"
        )
    elif spec.kind is not Kind.EMBEDDING_MODEL:
        return _load_unreduced(spec, options)  # there is no cosine of single scores, nor of ragged rows
    else:
        del loaded, model, tested_head
        measured = backend = _load_unreduced(spec, options)
    cosine = exact.cosine(measured)
    if exact.alone.isfinite().all() and not cosine >= options.minimum_cosine:  # `warm_up` reports NaN
        raise ModelRefused(
            f"the model in {spec.directory} has a cosine similarity of {cosine:.5f} to float32 in {name}, which is "
            f"below --minimum_cosine={options.minimum_cosine:g}: use float32, or lower the minimum"
        )
    _log.info("%s: the lowest cosine similarity to float32 is %.5f (%d probes)", name, cosine, len(probes))
    backend.cosine = cosine
    return backend


def _load_unreduced(spec: ModelSpec, options: LoadOptions) -> ForwardBackend:
    loaded = transformer.load(spec)
    model, tested_head = loaded.model, loaded.tested_head
    detail = f"{_versions(model)} in {spec.dtype}"
    width = _width(model, spec)
    test = _self_test(spec, loaded, tested_head)
    before = model.config._attn_implementation  # noqa: SLF001 transformers has a public setter, but no getter
    for kind, prepare in _forwards(model, width):
        try:
            forward = prepare(model)
            why = test.problem(ForwardBackend(forward, tested_head, detail))
        except Exception as error:
            if isinstance(error.__cause__, packed.KernelFailed) and not options.allow_padded:
                raise ModelRefused(
                    f"attention over packed batches failed for {type(model).__name__} in {spec.directory} "
                    f"({error.__cause__}): install the version of torch that this runtime requires, or accept slower, "
                    "padded batches with --allow_padded"
                ) from error
            why = str(error)
        if why is None:
            # Packed forwards keep no state between calls. The model's own padded forward, or its own code, may.
            packs = kind != "padded"
            halves = packs and not spec.remote_code and model.device.type == "cpu"
            sorts = not packs or packed.wants_order(model)
            detail = f"{detail}, {kind} batches"
            return ForwardBackend(forward, loaded.head, detail, packs=packs, halves=halves, width=width, sorts=sorts)
        _log.warning("%s cannot use %s batches: %s", type(model).__name__, kind, why)
        model.set_attn_implementation(before)
    loaded = transformer.load(spec)
    model, head, tested_head = loaded.model, loaded.head, loaded.tested_head
    detail = f"{detail}, unchanged layers"
    in_rows = padded.prepare(model, width)
    why = test.problem(ForwardBackend(in_rows, tested_head, detail))
    if why is None or not test.alone.isfinite().all():  # `warm_up` reports NaN
        return ForwardBackend(in_rows, head, f"{detail}, padded batches", width=width)
    if spec.remote_code:
        raise ModelRefused(f"the code that came with {spec.directory} mixes the texts of a batch: {why}")
    _log.warning("%s cannot use padded batches: %s", type(model).__name__, why)
    forward = partial(_one_by_one, padded.prepare(model))
    why = test.problem(ForwardBackend(forward, tested_head, detail))
    if why is not None:
        raise ModelRefused(
            f"{type(model).__name__} in {spec.directory} returns different vectors for the same text: {why}"
        )
    return ForwardBackend(forward, head, f"{detail}, texts one by one", packs=True)


def _self_test(spec: ModelSpec, loaded: transformer.Loaded, head: ApplyHead) -> SelfTest:
    """A test against transformers' own forward, without padding for single texts. Raises ModelRefused."""
    reference = ForwardBackend(padded.prepare(loaded.model), head, "unchanged")
    try:
        return SelfTest.of(reference, loaded.probes, spec.dtype)
    except BatchFailed as failed:
        raise ModelRefused(
            f"transformers' {type(loaded.model).__name__} cannot compute token vectors for the model in "
            f"{spec.directory} ({failed}): this architecture is not supported; use a model of another one"
        ) from failed


def _versions(model: PreTrainedModel) -> str:
    return f"transformers {transformers.__version__}, torch {torch.__version__} on {model.device.type}"


def _width(model: PreTrainedModel, spec: ModelSpec) -> Width:
    """The length of padded texts. On a GPU it has few values, because each new shape has a cost."""
    if model.device.type == "cpu":
        return max
    return lambda lengths: rounded_up(max(lengths), spec.max_length)


def _one_by_one(forward: Forward, texts: TokenBatch) -> Tensor:
    """For models whose results depend on the padding of a batch despite the mask."""
    return torch.cat([forward(text) for text in texts.singles()])


def _forwards(model: PreTrainedModel, width: Width) -> Iterator[tuple[str, Callable[[PreTrainedModel], Forward]]]:
    """The forward functions to try, fastest first, with their names."""
    if model.device.type == "cpu" and model.dtype is torch.float32:
        if bert.is_supported(model):
            yield "fused, packed", bert.prepare
        linear.use_for_linear_layers(model)
    if model.device.type == "cuda" and bert_gpu.is_supported(model):
        yield "fused, packed", bert_gpu.prepare
    yield "packed", packed.prepare
    yield "padded", partial(padded.prepare, width=width)


def reference_test(spec: ModelSpec) -> SelfTest:
    """A test that compares another library's rows with transformers' (scores: after the activation).

    The model is freed before it returns. Raises ModelRefused.
    """
    loaded = transformer.load(spec, thorough=True)
    return _self_test(spec, loaded, loaded.head)
