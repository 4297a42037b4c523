"""Token ids of the texts of the self test."""

import numpy as np
import torch
from transformers import PreTrainedModel

from embedding_runtime.model import ModelSpec
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["as_pairs", "probe_texts"]


def probe_texts(spec: ModelSpec, model: PreTrainedModel, prompt_tokens: int, *, thorough: bool) -> TokenBatch:
    """Texts with few, equal, similar and many tokens, and with more than the attention window, if there is one.

    They reveal attention to other texts or padding, and wrong positions. `thorough`: also the shortest and longest
    texts, with the first and last positions, and one that contains the padding token, if such texts are supported.
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
"""Maximum tokens of a probe. Some decoders support 32,768, which takes minutes on a CPU."""


def as_pairs(probes: TokenBatch) -> TokenBatch:
    """Make the second half of each text the second text of a pair."""
    types = [(np.arange(len(probe)) >= len(probe) // 2).astype(np.uint8) for probe in probes]
    return TokenBatch(probes.ids, probes.lengths, np.concatenate(types))
