"""transformers' model code with sentence-transformers' pooling, in torch, on a GPU where there is one.

`import sentence_transformers` costs seconds at start and gives nothing that a Transformer + Pooling (+ Dense,
Normalize) model needs: its pooling is in `pooling`, and the tests compare every vector with its own.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    MT5EncoderModel,
    PreTrainedModel,
    T5EncoderModel,
    UMT5EncoderModel,
)

from embedding_runtime.contract import Dtype, Quantization
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.protocol.messages import VectorRows
from embedding_runtime.protocol.token_batch import TokenBatch, TokenIds
from embedding_runtime.worker.backends import (
    bert,
    cores,
    linear,
    low_precision,
    own_code,
    packed,
    padded,
    scoring,
    tokenizer_check,
)
from embedding_runtime.worker.backends.base import LoadOptions
from embedding_runtime.worker.backends.device import prepare_gpu, rounded_up
from embedding_runtime.worker.backends.failure import batch_failed
from embedding_runtime.worker.backends.padded import Forward, Width
from embedding_runtime.worker.backends.pooling import Head
from embedding_runtime.worker.backends.self_test import SelfTest

__all__ = ["HuggingFaceBackend", "as_it_comes", "load"]

_log = logging.getLogger(__name__)

Rows = Callable[[Tensor, Sequence[int]], Tensor]
"""Hidden states of texts end to end, and how many tokens each has -> a row a text."""


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
        halve: Callable[[], None] | None = None,
        *,
        packs: bool = False,
        width: Width = max,
    ) -> None:
        """`halve` as in Backend. `packs`: `forward` needs no padding. `width`: of the rows where it does."""
        self._forward, self._head, self.detail, self._packs = forward, head, detail, packs
        self._width = width
        self.halve = halve
        self.cosine: float | None = None
        self.batch_tokens = _GPU_BATCH_TOKENS if torch.cuda.is_available() else _CPU_BATCH_TOKENS

    @torch.inference_mode()
    def embed(self, batch: TokenBatch) -> VectorRows:
        try:
            return self._rows(batch)
        except Exception as error:
            raise batch_failed(error) from error

    def padding(self, batch: TokenBatch) -> int:
        return 0 if self._packs else padded.padding(sorted(batch.lengths.tolist()), self._width)

    def _rows(self, batch: TokenBatch) -> VectorRows:
        if len(batch) == 1 or (np.diff(batch.lengths.astype(np.int64)) >= 0).all():
            return self._head(self._forward(batch), batch.lengths.tolist()).cpu().numpy()
        order = np.argsort(batch.lengths, kind="stable")
        texts = batch.reordered(order)
        sorted_rows = self._head(self._forward(texts), texts.lengths.tolist()).cpu().numpy()
        rows = np.empty_like(sorted_rows)
        rows[order] = sorted_rows
        return rows


def load(spec: ModelSpec, options: LoadOptions = _DEFAULTS) -> HuggingFaceBackend:
    """Packed where the model's vectors stay the same, padded where they do not. Raises ModelRefused."""
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    own_code.check(spec)
    if torch.cuda.is_available():
        prepare_gpu()
        if spec.quantize is not Quantization.NONE:
            raise ModelRefused(f"--quantize={spec.quantize} is for CPUs: on a GPU, use --dtype=float16")
    elif spec.is_reduced:
        return _reduced(spec, options)
    return _in_its_type(spec, options)


def _reduced(spec: ModelSpec, options: LoadOptions) -> HuggingFaceBackend:
    """With less precision than the model's files have, measured against float32. Raises ModelRefused."""
    precision = low_precision.precision_of(spec)
    asked = precision.name
    model, head, compared, probes = _parts(replace(spec, dtype=Dtype.FLOAT32, quantize=Quantization.NONE))
    exact = SelfTest.of(_trusted(model, compared), probes, Dtype.FLOAT32)
    backend: HuggingFaceBackend | None = None
    if precision.make is not None and bert.written_out(model):
        forward = bert.prepare(model, precision.make)
        measured = HuggingFaceBackend(forward, compared, "as measured")
        measured.embed(probes)
        precision.finish()
        backend = HuggingFaceBackend(
            forward, head, f"{_versions(model)} in {asked}, fused, packed batches", cores.one_of_two(), packs=True
        )
        problem = SelfTest.of(measured, probes, Dtype.FLOAT16).problem(measured)
        if problem is not None:
            raise ModelRefused(f"{spec.directory} in {asked}: {problem}")
    elif spec.quantize is not Quantization.NONE:
        raise ModelRefused(
            f"--quantize={spec.quantize} is not available for {type(model).__name__} in {spec.directory}: it is for "
            f"{', '.join(bert.NAMES)} with exact GELU; leave --quantize out"
        )
    elif spec.scores is not None:
        return _in_its_type(spec, options)  # of one score there is no cosine
    else:
        del model, head, compared
        measured = backend = _in_its_type(spec, options)
    cosine = exact.cosine(measured)
    if exact.alone.isfinite().all() and not cosine >= options.minimum_cosine:  # of NaN the worker has its own words
        raise ModelRefused(
            f"the model in {spec.directory} in {asked} is at a cosine of {cosine:.5f} to float32, which is below "
            f"--minimum_cosine={options.minimum_cosine:g}: serve it in float32, or lower the minimum"
        )
    _log.info("%s: the lowest cosine to float32 is %.5f, over %d probes", asked, cosine, len(probes))
    backend.cosine = cosine
    return backend


def _in_its_type(spec: ModelSpec, options: LoadOptions) -> HuggingFaceBackend:
    model, head, compared, probes = _parts(spec)
    detail = f"{_versions(model)} in {spec.dtype}"
    width = _width(model, spec)
    test = SelfTest.of(_trusted(model, compared), probes, spec.dtype)
    before = model.config._attn_implementation  # noqa: SLF001 transformers has a public setter, but no getter
    for way, prepare in _ways(model, width):
        try:
            forward = prepare(model)
            why = test.problem(HuggingFaceBackend(forward, compared, detail))
        except Exception as error:
            if isinstance(error.__cause__, packed.KernelFailed) and not options.allow_padded:
                raise ModelRefused(
                    f"{type(model).__name__} in {spec.directory} could be served with packed batches, but attention "
                    f"over them failed ({error.__cause__}): install the torch that this runtime is made for, or accept "
                    "slower, padded batches with --allow_padded"
                ) from error
            why = str(error)
        if why is None:
            # Packed forwards keep nothing between calls; of a model's own ways with padding, or of code that came with
            # it, nobody knows that.
            packs = way != "padded"
            halve = cores.one_of_two() if packs and not spec.own_code and model.device.type == "cpu" else None
            return HuggingFaceBackend(forward, head, f"{detail}, {way} batches", halve, packs=packs, width=width)
        _log.warning("%s has no %s batches: %s", type(model).__name__, way, why)
        model.set_attn_implementation(before)
    model, head, compared, _ = _parts(spec)
    detail = f"{detail}, layers as they come"
    in_rows = padded.prepare(model, width)
    why = test.problem(HuggingFaceBackend(in_rows, compared, detail))
    if why is None or not test.alone.isfinite().all():  # of NaN the worker has its own words
        return HuggingFaceBackend(in_rows, head, f"{detail}, padded batches", width=width)
    if spec.own_code:
        raise ModelRefused(f"the code that came with {spec.directory} does not keep the texts of a batch apart: {why}")
    _log.warning("%s has no padded batches: %s", type(model).__name__, why)
    forward = partial(_one_by_one, padded.prepare(model))
    why = test.problem(HuggingFaceBackend(forward, compared, detail))
    if why is not None:
        raise ModelRefused(f"{type(model).__name__} in {spec.directory} gives another vector at every call: {why}")
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
    yield "packed", packed.prepare
    yield "padded", partial(padded.prepare, width=width)


def as_it_comes(spec: ModelSpec) -> SelfTest:
    """What another library's rows of the model have to be, of a cross-encoder with its activation.

    The model itself is let go. Raises ModelRefused.
    """
    model, head, _, probes = _parts(spec, thorough=True)
    return SelfTest.of(_trusted(model, head), probes, spec.dtype)


def _parts(spec: ModelSpec, *, thorough: bool = False) -> tuple[PreTrainedModel, Rows, Rows, TokenBatch]:
    """The transformer, its head, what of the head's work is compared at start, and over which texts.

    `thorough`: with those that show how another library counts positions.
    """
    if spec.scores is None:
        prompt_tokens, types = tokenizer_check.check(spec)
        model = _weights(spec)
        head = Head(spec, model.device, prompt_tokens=prompt_tokens)
        probes = _probes(spec, model, prompt_tokens, thorough=thorough)
        if types:
            _give_types(model, next(iter(probes)))
        return model, head, head, probes
    types = tokenizer_check.check_pairs(spec)
    whole = _weights(spec)
    pairs = _as_pairs(_probes(spec, whole, 0, thorough=thorough))
    model, scores = scoring.split(whole, spec, spec.scores, pairs, types=types)
    return model, scores, scores.reads, pairs  # activations may make 1 of every score


_ENCODERS: Mapping[str, Any] = {"t5": T5EncoderModel, "mt5": MT5EncoderModel, "umt5": UMT5EncoderModel}
"""By model type, where the model has a decoder, too, that sentence-transformers leaves out."""


def _weights(spec: ModelSpec) -> PreTrainedModel:
    try:
        config = AutoConfig.from_pretrained(spec.directory, local_files_only=True, trust_remote_code=spec.own_code)
        config.use_cache = False  # nothing is generated
        embeds = _ENCODERS.get(config.model_type, AutoModel)
        model, loading = (embeds if spec.scores is None else AutoModelForSequenceClassification).from_pretrained(
            spec.directory,
            config=config,
            dtype=getattr(torch, spec.dtype),
            local_files_only=True,
            trust_remote_code=spec.own_code,
            output_loading_info=True,
        )
    except (ImportError, OSError, ValueError) as error:  # its words for what is missing, or is not what it knows
        raise ModelRefused(f"transformers cannot load {spec.directory}: {' '.join(str(error).split())}") from error
    # transformers fills what the files lack with random numbers. Its own pooler is not used for vectors.
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ModelRefused(
            f"the weights in {spec.directory} lack {', '.join(missing[:_NAMED])} ({len(missing)} in all)"
        )
    if spec.scores is None and hasattr(model, "pooler") and not spec.own_code:  # which may not ask whether it is there
        model.pooler = _NoPooler()
    on_device: PreTrainedModel = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return on_device


_NAMED = 10
"""Of the weights that are missing."""


class _NoPooler(nn.Module):
    """Stands for what is not used for vectors. Some classes ask whether there is a pooler, others just call it."""

    def forward(self, hidden: Tensor, *_: object, **__: object) -> Tensor:
        """Computes nothing."""
        return hidden


def _give_types(model: PreTrainedModel, probe: TokenIds) -> None:
    """Zeros with every text, as the tokenizer has them, where a model takes them for something else than none.

    GPT-2 and GPT-J add the embedding of the token 0; BERT takes types that are not given for zeros.
    """
    if "token_type_ids" not in inspect.signature(model.forward).parameters:
        return
    ids = torch.from_numpy(probe).long()[None].to(model.device)
    with torch.inference_mode():
        without = model(input_ids=ids).last_hidden_state
        zeros = model(input_ids=ids, token_type_ids=torch.zeros_like(ids)).last_hidden_state
    if not torch.equal(without, zeros):
        model.register_forward_pre_hook(_with_zeros, with_kwargs=True)


def _with_zeros(
    _: nn.Module, args: tuple[Any, ...], given: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {**given, "token_type_ids": torch.zeros_like(given["input_ids"])}


def _probes(spec: ModelSpec, model: PreTrainedModel, prompt_tokens: int, *, thorough: bool) -> TokenBatch:
    """Texts of few, equal, about equal and many tokens, and of more than the attention's window (where it has one).

    They would show if one text saw another, or padding, or its own place wrongly. `thorough`: the shortest and the
    longest, too, where positions begin and end, and one with the padding's token inside, unless no text with it is
    served there.
    """
    generator = torch.Generator().manual_seed(1)
    window = getattr(model.config, "sliding_window", None) or 0
    added = [2, 9, 9, 10, 40, max(300, 2 * window + 50), *((1, 3, _LONGEST_PROBE) if thorough else ())]
    lengths = [min(prompt_tokens + length, spec.max_length) for length in added]
    probes = [torch.randint(spec.vocabulary, (n,), generator=generator, dtype=torch.int32).numpy() for n in lengths]
    padding = getattr(model.config, "pad_token_id", None)
    if thorough and padding is not None:
        for probe in probes:
            probe[probe == padding] = (padding + 1) % spec.vocabulary
        if spec.padding is None:
            probes[4][lengths[4] // 2] = padding
    return TokenBatch.of(probes)


_LONGEST_PROBE = 2048
"""Tokens: some decoders take 32,768, which is minutes on a CPU."""


def _as_pairs(probes: TokenBatch) -> TokenBatch:
    """The second half of each as its second text."""
    types = [(np.arange(len(probe)) >= len(probe) // 2).astype(np.uint8) for probe in probes]
    return TokenBatch(probes.ids, probes.lengths, np.concatenate(types))
