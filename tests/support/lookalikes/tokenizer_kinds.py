"""Tokenizers of the kinds that popular models have, trained on a line, saved as the hub has them."""

import json
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AlbertTokenizer,
    BertTokenizer,
    CamembertTokenizer,
    DebertaV2Tokenizer,
    DistilBertTokenizer,
    GemmaTokenizer,
    LlamaTokenizer,
    MPNetTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    RobertaTokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

__all__ = ["save_tokenizer"]

CORPUS = ["the quick brown fox jumps over the lazy dog, query: passage: a text Upper CASE " * 4] * 8

_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_XLM_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>")
_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_LATIN = string.ascii_letters + string.digits + string.punctuation


def _vocabulary(model: Any, trainer: Any, split: Any) -> dict[str, Any]:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = split
    tokenizer.train_from_iterator(CORPUS, trainer)
    trained: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return trained


def _word_pieces(make: Any, specials: Sequence[str] = _BERT, unknown: str = "[UNK]", **options: Any) -> Any:
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=list(specials), initial_alphabet=list(_LATIN), show_progress=False
    )
    split = pre_tokenizers.BertPreTokenizer()
    return make(vocab=_vocabulary(models.WordPiece(unk_token=unknown), trainer, split)["vocab"], **options)


def _pieces(make: Any, specials: Sequence[str] = _XLM_ROBERTA, unknown: str = "<unk>", **options: Any) -> Any:
    """As SentencePiece's unigrams."""
    trainer = trainers.UnigramTrainer(
        vocab_size=200,
        special_tokens=list(specials),
        unk_token=unknown,
        initial_alphabet=list(_LATIN),
        show_progress=False,
    )
    trained = _vocabulary(models.Unigram(), trainer, pre_tokenizers.Metaspace())
    return make(vocab=[tuple(each) for each in trained["vocab"]], **options)


def _bytes(make: Any, specials: Sequence[str], **options: Any) -> Any:
    """As GPT-2's byte pairs."""
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained = _vocabulary(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))
    return make(vocab=trained["vocab"], merges=[tuple(each) for each in trained["merges"]], **options)


def _pairs(make: Any, specials: Sequence[str], **options: Any) -> Any:
    """As SentencePiece's byte pairs, bytes for what it lacks."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=460,
        special_tokens=[*specials, *fallback],
        initial_alphabet=list(_LATIN),
        show_progress=False,
    )
    trained = _vocabulary(models.BPE(), trainer, pre_tokenizers.Metaspace())
    return make(vocab=trained["vocab"], merges=[tuple(each) for each in trained["merges"]], **options)


def _around(made: Any, first: str | None, last: str | None) -> Any:
    """Tokens around each text, as the file says in place of its class."""
    named = [(token, made.convert_tokens_to_ids(token)) for token in (first, last) if token]
    single = [token for token in (first, "$A", last) if token]
    pair = [token for token in (first, "$A", last, "$B:1", f"{last}:1" if last else None) if token]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=named
    )
    return made


def _modernbert() -> Any:
    trained = _bytes(_as_it_is, ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"))
    named = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=trained, mask_token="[MASK]", model_input_names=["input_ids", "attention_mask"], **named
    )
    return _around(made, "[CLS]", "[SEP]")


def _as_it_is(vocab: Any, merges: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


_KINDS: Mapping[str, Callable[[], Any]] = {
    "bert": lambda: _word_pieces(BertTokenizer, do_lower_case=True),
    "bert-cased": lambda: _word_pieces(BertTokenizer, do_lower_case=False),
    "distilbert": lambda: _word_pieces(DistilBertTokenizer, do_lower_case=True),
    "distilbert-cased": lambda: _word_pieces(DistilBertTokenizer, do_lower_case=False),
    "electra": lambda: _word_pieces(BertTokenizer, do_lower_case=True),
    "mpnet": lambda: _word_pieces(MPNetTokenizer, ("<s>", "<pad>", "</s>", "[UNK]", "<mask>"), unk_token="[UNK]"),
    "xlm-roberta": lambda: _pieces(XLMRobertaTokenizer),
    "camembert": lambda: _pieces(CamembertTokenizer),
    "albert": lambda: _pieces(AlbertTokenizer, ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")),
    "deberta-v2": lambda: _pieces(DebertaV2Tokenizer, ("[PAD]", "[CLS]", "[SEP]", "[UNK]"), "[UNK]", unk_id=3),
    "t5": lambda: _pieces(T5Tokenizer, ("<pad>", "</s>", "<unk>")),
    "roberta": lambda: _bytes(RobertaTokenizer, _ROBERTA),
    "modernbert": _modernbert,
    "qwen": lambda: _around(_bytes(Qwen2Tokenizer, ("<|endoftext|>",)), None, "<|endoftext|>"),
    "qwen-plain": lambda: _bytes(Qwen2Tokenizer, ("<|endoftext|>",)),
    "llama": lambda: _around(_pairs(LlamaTokenizer, ("<unk>", "<s>", "</s>"), pad_token="</s>"), "<s>", "</s>"),
    "gemma": lambda: _around(_pairs(GemmaTokenizer, ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")), "<bos>", "<eos>"),
}
"""By name, as `table` has them."""


def save_tokenizer(directory: Path, kind: str, words: Sequence[str] = (), **config: Any) -> PreTrainedTokenizerBase:
    """`kind` may end in "/vocab": without a tokenizer.json; `config` goes into tokenizer_config.json.

    `words`: further tokens.
    """
    name, _, only_vocabulary = kind.partition("/")
    made: PreTrainedTokenizerBase = _KINDS[name]()
    made.add_tokens(list(words))
    made.save_pretrained(directory)
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    if only_vocabulary:
        vocabulary = sorted(made.get_vocab().items(), key=lambda each: each[1])
        (directory / "vocab.txt").write_text("\n".join(word for word, _ in vocabulary))
        (directory / "tokenizer.json").unlink()
    return made
