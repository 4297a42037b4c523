"""The vLLM backend: vLLM's engine as a library in the worker. It gets token ids and pools as the model's files define.

For a cross-encoder with a classification head vLLM computes logits (its task `classify`), and this backend applies the
activation. For a reranker that is a language model vLLM returns the last token's hidden state.

`registry` sets vLLM's environment variables before it imports this module.
"""

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from transformers import AutoConfig
from vllm import EngineArgs, LLMEngine, PoolingParams, __version__
from vllm.config import PoolerConfig
from vllm.model_executor.layers.pooler.seqwise import poolers
from vllm.platforms import current_platform
from vllm.v1.engine import EngineCoreRequest

from embedding_runtime.contract import Dtype
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import VectorRows
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import remote_code, tokenizer_check, vllm_coverage, vllm_limits
from embedding_runtime.worker.backends.base import LoadOptions
from embedding_runtime.worker.backends.choice import own_classes
from embedding_runtime.worker.backends.failure import batch_failed
from embedding_runtime.worker.backends.pooling import activation, steps_of
from embedding_runtime.worker.backends.self_test import SelfTest
from embedding_runtime.worker.backends.token_scores import TokenScores
from embedding_runtime.worker.backends.vllm_weights import LOAD_FORMAT, WeightsMissing

__all__ = ["VllmBackend", "load"]

_log = logging.getLogger(__name__)

poolers._load_st_projector = lambda _: None  # noqa: SLF001 `pooling` computes Dense layers, because vLLM skips those it cannot load

_CPU_BATCH_TOKENS = 2048
_GPU_BATCH_TOKENS = 16_384
_BATCH_TEXTS = 256


class VllmBackend:
    """A vLLM engine in this process."""

    use_half_the_cores = None
    cosine = None
    launch = None
    batch_tokens = _CPU_BATCH_TOKENS if current_platform.is_cpu() else _GPU_BATCH_TOKENS

    def __init__(self, engine: LLMEngine, spec: ModelSpec, detail: str, *, types: bool) -> None:
        """`types`: whether the model gets token types. Raises ModelRefused."""
        self.detail = detail
        self._engine, self._types = engine, types
        self._classifies = not vllm_limits.pooling_of(spec)
        # Steps after the pooling are computed here, so vLLM applies no activation.
        self._embeds = PoolingParams(task="embed", use_activation=False, skip_reading_prefix_cache=False)
        self._steps: list[Callable[[torch.Tensor], torch.Tensor]] = [*steps_of(spec, torch.device("cpu"))]
        self._activations: list[Callable[[torch.Tensor], torch.Tensor]] = []
        if spec.scores is not None:
            if spec.scores.tokens is not None:
                self._steps.append(TokenScores(spec, spec.scores.tokens))
            self._activations.append(activation(spec.scores.activation, spec.directory))

    def computing(self, spec: ModelSpec) -> Self:
        """A backend with the same engine, for a spec with other steps after the pooling."""
        return type(self)(self._engine, spec, self.detail, types=self._types)

    def embed(self, batch: TokenBatch, output: Output = Output.PER_TEXT) -> VectorRows:
        if output not in (Output.PER_TEXT, Output.LOGITS):
            raise RuntimeError(f"vLLM does not support the output {output}, which frontends should reject")
        try:
            return self._rows(batch, self._steps + ([] if output is Output.LOGITS else self._activations))
        except Exception as error:
            failed = batch_failed(error)
            self._engine.engine_core.abort_requests([str(place) for place in range(len(batch))])  # the remaining ones
            raise failed from error

    def padding(self, batch: TokenBatch) -> int:  # noqa: ARG002 required by Backend
        return 0  # vLLM does not report the padding of CUDA graphs

    def _rows(self, batch: TokenBatch, steps: Sequence[Callable[[torch.Tensor], torch.Tensor]]) -> VectorRows:
        """Use the engine core directly. LLMEngine's work per prompt takes a third of a short text's time, and frontends
        have done it.
        """
        core = self._engine.engine_core
        for place, text in enumerate(batch.singles()):
            core.add_request(self._request(str(place), text))
        rows: dict[int, torch.Tensor] = {}
        while len(rows) < len(batch):
            for output in core.get_output().outputs:
                if output.pooling_output is None:
                    raise RuntimeError(f"vLLM returned no vector for a text: {output.finish_reason}")
                rows[int(output.request_id)] = output.pooling_output.float()
        all_rows = torch.stack([rows[place] for place in range(len(batch))])
        with torch.inference_mode():
            for step in steps:
                all_rows = step(all_rows)
        return all_rows.numpy()

    def _request(self, name: str, text: TokenBatch) -> EngineCoreRequest:
        return EngineCoreRequest(
            request_id=name,
            prompt_token_ids=text.ids.tolist(),
            mm_features=None,
            sampling_params=None,
            pooling_params=self._params(text),
            arrival_time=0.0,  # not used: all texts of a batch arrive together
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )

    def _params(self, text: TokenBatch) -> PoolingParams:
        if not self._classifies:
            return self._embeds
        second = [] if text.types is None else np.flatnonzero(text.types).tolist()
        types = {"compressed_token_type_ids": second[0]} if self._types and second else None
        return PoolingParams(task="classify", use_activation=False, skip_reading_prefix_cache=False, extra_kwargs=types)


def load(spec: ModelSpec, options: LoadOptions | None = None) -> VllmBackend:
    """Load a model. Raises ModelRefused, or vLLM's own errors for models whose support the tests cover."""
    remote_code.prepare(spec)
    if spec.scores is None:
        tokenizer_check.check(spec)
        types = False
    else:
        types = tokenizer_check.check_pairs(spec)
    reason = vllm_coverage.reason_for_self_test(spec)
    test = None if reason is None else _self_test(spec, reason)
    try:
        engine, where = _engine(spec, options or LoadOptions())
        backend = VllmBackend(engine, spec, f"vLLM {__version__} on {where}", types=types)
        difference = None if test is None else _difference(test, backend, spec)
    except WeightsMissing as missing:
        if test is None:
            _self_test(spec, "some weights are missing")  # transformers reports the names that the files have
        raise ModelRefused(
            f"vLLM finds no weights in {spec.directory} for {missing}: {vllm_limits.REMEDY}"
        ) from missing
    except Exception as error:
        # ValueError: an architecture or a setting that vLLM does not support. Models that the tests do not cover can
        # cause any exception.
        if test is None and not isinstance(error, ValueError):
            raise
        raise ModelRefused(_cannot_load(spec, " ".join(str(error).split())[:_MAX_MESSAGE])) from error
    if difference is not None:
        code = "the code that came with" if spec.remote_code else "transformers' code for"
        raise ModelRefused(
            f"vLLM's results differ from those of {code} {spec.directory}: {difference}; {vllm_limits.REMEDY}"
        )
    return backend


def _cannot_load(spec: ModelSpec, message: str) -> str:
    """What to do about a model that vLLM cannot load; after that, vLLM's message."""
    architecture = vllm_coverage.case_of(spec).architecture or "no architecture"
    why = f"vLLM cannot load {spec.directory}: its config.json has {architecture}, "
    if architecture in own_classes():
        why += "for which vLLM has a class of its own that fails with these files"
    else:
        code = "the model's class" if spec.remote_code else "transformers' class"
        why += f"for which vLLM has no class of its own, and it cannot run {code}"
    return f"{why}; {vllm_limits.REMEDY}. vLLM's message: {message}"


_IDENTITY = "torch.nn.modules.linear.Identity"

_MAX_MESSAGE = 300
"""Maximum characters of vLLM's message, which lists every supported architecture."""


def _self_test(spec: ModelSpec, reason: str) -> SelfTest:
    """A test against transformers; of a cross-encoder before its activation, which may saturate to 1 for every pair.

    vLLM implements some architectures itself, and replaces layers of others by heuristics. Only a comparison shows
    whether the results are the same.
    """
    from embedding_runtime.worker.backends import huggingface  # noqa: PLC0415 takes a second, and few models need it

    _log.info("comparing vLLM with transformers: %s", reason)
    test = huggingface.reference_test(_before_activation(spec))
    gc.collect()  # vLLM measures the free memory
    torch.accelerator.empty_cache()
    return test


def _difference(test: SelfTest, backend: VllmBackend, spec: ModelSpec) -> str | None:
    if spec.scores is None:
        return test.difference(backend)
    return test.difference_of_scores(backend.computing(_before_activation(spec)))


def _before_activation(spec: ModelSpec) -> ModelSpec:
    return spec if spec.scores is None else replace(spec, scores=replace(spec.scores, activation=_IDENTITY))


def _engine(spec: ModelSpec, options: LoadOptions) -> tuple[LLMEngine, str]:
    """Create the engine. Returns it and the name of its device."""
    # An input of exactly max_model_len tokens would wait forever, because vLLM reserves one position for a generated
    # token. model_max_length raises the limit that vLLM derives from the model's files by this position.
    places = spec.max_length + 1
    overrides: dict[str, object] = {"model_max_length": places}
    if spec.padding is not None:
        # vLLM requires this setting for models like RoBERTa; files written by transformers 5 omit it.
        overrides["position_embedding_type"] = "absolute"
    on_cpu, pooling = current_platform.is_cpu(), vllm_limits.pooling_of(spec)
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=str(spec.directory),
            runner="pooling",
            load_format=LOAD_FORMAT,
            trust_remote_code=spec.remote_code,
            pooler_config=PoolerConfig(
                seq_pooling_type=vllm_limits.SEQ_POOLING[pooling] if pooling else "CLS",
                use_activation=False,
            ),
            dtype=spec.dtype.value,
            max_model_len=places,
            hf_overrides=overrides,
            max_num_batched_tokens=max(VllmBackend.batch_tokens, places),
            max_num_seqs=_BATCH_TEXTS,
            skip_tokenizer_init=True,  # the frontend tokenizes
            enforce_eager=on_cpu,  # compiling on a CPU takes longer than it saves; on a GPU vLLM uses CUDA graphs
            **({} if on_cpu else _memory(spec, places, options.gpu_memory)),
            distributed_executor_backend="uni",
            disable_log_stats=True,
            use_tqdm_on_load=False,
        )
    )
    return engine, "cpu" if on_cpu else current_platform.get_device_name()


def _memory(spec: ModelSpec, places: int, share: float) -> Mapping[str, Any]:
    """Arguments that limit an engine to the GPU memory that its model needs, at most `share` of the GPU.

    With a given cache size, vLLM does not measure the free memory, which changes while other engines start.
    """
    config = AutoConfig.from_pretrained(spec.directory, local_files_only=True, trust_remote_code=spec.remote_code)
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    a_token = 2 * text.num_hidden_layers * heads * size * _ITEM_BYTES[spec.dtype]
    cache = a_token * (max(VllmBackend.batch_tokens, places) + _BATCH_TEXTS * _BLOCK)
    weights = sum(path.stat().st_size for kind in ("*.safetensors", "*.bin") for path in spec.directory.glob(kind))
    total = torch.cuda.get_device_properties(0).total_memory
    needed = cache + _WEIGHTS_FACTOR * weights + _WORK_BYTES
    return {"kv_cache_memory_bytes": cache, "gpu_memory_utilization": min(share, needed / total)}


_ITEM_BYTES: Mapping[Dtype, int] = {Dtype.FLOAT32: 4, Dtype.FLOAT16: 2, Dtype.BFLOAT16: 2}

_BLOCK = 16
"""Tokens per block of the cache. The last block of each text is partly empty."""

_WEIGHTS_FACTOR = 2
"""Weights in float16 may be served in float32."""

_WORK_BYTES = 4 << 30
"""Memory for a full batch, CUDA and its graphs."""
