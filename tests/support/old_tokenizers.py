"""Tokenizers as repositories of old have them: a vocabulary alone, or a tokenizer.json that transformers 5 rewrites."""

import json
import string
from collections.abc import Callable, Mapping
from pathlib import Path

import sentencepiece

__all__ = ["OLD_TOKENIZERS", "sentencepiece_model", "tokenizer_json_that_lower_cases_nothing", "vocabulary"]

LINE = "the quick brown fox jumps over the lazy dog, query: passage: "
LETTERS = string.ascii_lowercase + string.digits + ",.:'"
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "quick",
    "fox",
    *LETTERS,
    *(f"##{each}" for each in LETTERS),
]


def without_tokenizer(model: Path) -> Path:
    for file in (*model.glob("tokenizer*"), *model.glob("special_tokens*")):
        file.unlink()
    return model


def vocabulary(model: Path) -> Path:
    """BERT's vocab.txt."""
    (without_tokenizer(model) / "vocab.txt").write_text("\n".join(WORDS))
    return model


def sentencepiece_model(model: Path) -> Path:
    """XLM-RoBERTa's sentencepiece.bpe.model."""
    corpus = without_tokenizer(model) / "corpus"
    corpus.write_text("\n".join([LINE * 4] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(model / "sentencepiece.bpe"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model


def tokenizer_json_that_lower_cases_nothing(model: Path) -> Path:
    """transformers' BertTokenizer does, as tokenizer_config.json has it."""
    cased = {"type": "BertNormalizer", "lowercase": False, "clean_text": True, "handle_chinese_chars": True}
    wordpiece = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    tokenizer: dict[str, object] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {**cased, "strip_accents": None},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": None,
        "model": {**wordpiece, "max_input_chars_per_word": 100, "vocab": {word: n for n, word in enumerate(WORDS)}},
    }
    (without_tokenizer(model) / "tokenizer.json").write_text(json.dumps(tokenizer))
    said = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (model / "tokenizer_config.json").write_text(json.dumps(said))
    return model


OLD_TOKENIZERS: Mapping[str, tuple[str, Callable[[Path], Path]]] = {
    "vocab.txt": ("bert", vocabulary),
    "sentencepiece.bpe.model": ("xlm-roberta", sentencepiece_model),
    "tokenizer.json that differs": ("bert", tokenizer_json_that_lower_cases_nothing),
}
"""The kind of the model, and what makes its tokenizer old."""
