"""transformers' own tokenizer against ours: it rewrites what tokenizer.json says for some classes, ours reads it as is.

BertTokenizer, say, lower-cases as tokenizer_config.json has it, whatever the normalizer in tokenizer.json does.
"""

from dataclasses import replace

import numpy as np
from transformers import AutoTokenizer

from embedding_runtime.modelspec import ModelRefused, ModelSpec
from embedding_runtime.tokenization import TextTokenizer

__all__ = ["check"]

_PROBES = (
    "The quick Brown fox, 42 times.",
    "Ünïcödé ÅΣß — «naïve» ﬁne",
    "你好，世界 こんにちは 안녕",
    " two  spaces\nand\ttabs ",
    "🙂 don't a_b-c/d <x@y.z>",
    "",
)


def check(spec: ModelSpec) -> int:
    """How many tokens the model's prompt has, before the first of the text.

    Raises ModelRefused when the front's tokens would not be sentence-transformers' own.
    """
    try:
        theirs = AutoTokenizer.from_pretrained(spec.directory, local_files_only=True, trust_remote_code=False)
    except ValueError as error:  # transformers' word for a class that it lacks, with the model's own code or without
        raise ModelRefused(
            f"transformers has no tokenizer for {spec.directory}, and code that comes with a model is not run here: "
            f"{' '.join(str(error).split())}"
        ) from error
    plain = TextTokenizer(replace(spec, lower_case=False, prompt=""))  # what is ours alone needs no comparing
    for text, ids in zip(_PROBES, plain.encode(_PROBES), strict=True):
        found = theirs(text)
        if any(found.get("token_type_ids", ())):
            raise ModelRefused(f"{type(theirs).__name__} in {spec.directory} has token types, which are not served")
        if not np.array_equal(ids, found["input_ids"]):
            raise ModelRefused(
                f"tokenizer.json in {spec.directory} and transformers' {type(theirs).__name__} give different tokens "
                f"for {text!r}: save the tokenizer with transformers (tokenizer.save_pretrained), so that the two agree"
            )
    (prompt,) = TextTokenizer(spec).encode([""])
    if not spec.prompt or not len(prompt):
        return 0
    ends_in_special = int(prompt[-1]) in theirs.all_special_ids  # which follows the text, not the prompt
    return len(prompt) - ends_in_special
