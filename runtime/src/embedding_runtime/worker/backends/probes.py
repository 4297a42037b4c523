"""The texts that a way through a model is checked with at start, as token ids."""

import numpy as np
import torch
from transformers import PreTrainedModel

from embedding_runtime.model import ModelSpec
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["as_pairs", "probe_texts"]


def probe_texts(spec: ModelSpec, model: PreTrainedModel, prompt_tokens: int, *, thorough: bool) -> TokenBatch:
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


def as_pairs(probes: TokenBatch) -> TokenBatch:
    """The second half of each as its second text."""
    types = [(np.arange(len(probe)) >= len(probe) // 2).astype(np.uint8) for probe in probes]
    return TokenBatch(probes.ids, probes.lengths, np.concatenate(types))
