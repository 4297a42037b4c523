"""The popular models: each one's name on the hub, and what its look-alike is made of.

From each repository's config.json, modules.json and tokenizer files. Imports nothing heavy: `make verify` reads it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from support.chat_templates import MIXEDBREAD, QWEN, ZERANK

__all__ = ["LOOKALIKES", "Dense", "Lookalike"]


@dataclass(frozen=True)
class Dense:
    """A linear layer after the pooling."""

    out: int = 64
    activation: str = "activation.Tanh"
    bias: bool = True


@dataclass(frozen=True)
class Lookalike:
    """What a popular model is made of."""

    name: str
    """On the hub."""
    kind: str
    """config.json's model_type, as transformers has it."""
    tokenizer: str
    head: str = ""
    """config.json's architecture, where it is not the class that is saved."""
    architecture: str = ""
    """The class of transformers that is saved."""
    pooling: str | None = "mean"
    """None: no modules.json."""
    steps: tuple[str | Dense, ...] = ("Normalize",)
    max_length: int = 512
    config: Mapping[str, Any] = field(default_factory=dict)
    """Into the class's config."""
    says: Mapping[str, Any] = field(default_factory=dict)
    """Into config.json, unread by the class that is saved."""
    labels: int | None = None
    """Of a cross-encoder."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    include_prompt: bool = True
    lower_case: bool = False
    positions_after_padding: bool = False
    code: str = ""
    """The repository whose code it runs, in place of which the look-alike has that of `support/remote_code`."""
    modules: tuple[tuple[str, str], ...] = ()
    """In place of those: paths and types."""
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    """The chat template."""
    score_tokens: tuple[str, str | None] | None = None
    """Texts of LogitScore's tokens, of a reranker that is a language model."""
    processing: Mapping[str, Any] = field(default_factory=dict)
    """processing_kwargs in sentence_bert_config.json."""
    card: str = ""
    """pipeline_tag of the card, for a model whose other files do not say what it is for."""
    token_heads: bool = False
    """With BGE-M3's layers for tokens, which are pickles."""


def _each(names: str, **made: Any) -> Iterable[Lookalike]:
    for name in names.split():
        yield Lookalike(name, **made)


_BERT: Mapping[str, Any] = {"kind": "bert", "tokenizer": "bert", "architecture": "BertModel"}
_XLM_ROBERTA: Mapping[str, Any] = {
    "kind": "xlm-roberta",
    "tokenizer": "xlm-roberta",
    "architecture": "XLMRobertaModel",
    "positions_after_padding": True,
    "config": {"type_vocab_size": 1, "layer_norm_eps": 1e-5},
}
_ROBERTA: Mapping[str, Any] = {
    **_XLM_ROBERTA,
    "kind": "roberta",
    "tokenizer": "roberta",
    "architecture": "RobertaModel",
}
_MPNET: Mapping[str, Any] = {
    "kind": "mpnet",
    "tokenizer": "mpnet",
    "architecture": "MPNetModel",
    "positions_after_padding": True,
    "max_length": 384,
}
_DISTILBERT: Mapping[str, Any] = {"kind": "distilbert", "tokenizer": "distilbert", "architecture": "DistilBertModel"}
_T5: Mapping[str, Any] = {"kind": "t5", "tokenizer": "t5", "architecture": "T5EncoderModel", "max_length": 256}
_MODERNBERT: Mapping[str, Any] = {
    "kind": "modernbert",
    "tokenizer": "modernbert",
    "architecture": "ModernBertModel",
    "max_length": 8192,
}
_QWEN3: Mapping[str, Any] = {
    "kind": "qwen3",
    "tokenizer": "qwen",
    "architecture": "Qwen3Model",
    "head": "Qwen3ForCausalLM",
    "pooling": "lasttoken",
    "max_length": 8192,
}
_ST = "sentence_transformers"
_STATIC = (("", f"{_ST}.models.StaticEmbedding"), ("1_Normalize", f"{_ST}.models.Normalize"))
_STATIC_IN_FOLDER = (("0_StaticEmbedding", f"{_ST}.models.StaticEmbedding"),)
_SPLADE = (
    ("", f"{_ST}.sparse_encoder.models.MLMTransformer"),
    ("1_SpladePooling", f"{_ST}.sparse_encoder.models.SpladePooling"),
)
_JINA_V3 = (
    ("", "custom_st.Transformer"),
    ("1_Pooling", f"{_ST}.models.Pooling"),
    ("2_Normalize", f"{_ST}.models.Normalize"),
)
_QUERY = {"prompts": {"query": "Instruct: find passages\nQuery:", "document": ""}}
_IDENTITY = "linear.Identity"
_PLAIN: Mapping[str, Any] = {"pooling": None, "steps": ()}
_BERT_SCORES: Mapping[str, Any] = {**_BERT, **_PLAIN, "architecture": "BertForSequenceClassification", "labels": 1}
_ROBERTA_SCORES: Mapping[str, Any] = {
    **_ROBERTA,
    **_PLAIN,
    "architecture": "RobertaForSequenceClassification",
    "labels": 1,
}
_XLM_ROBERTA_SCORES: Mapping[str, Any] = {
    **_XLM_ROBERTA,
    **_PLAIN,
    "architecture": "XLMRobertaForSequenceClassification",
    "labels": 1,
}
_DEBERTA_SCORES: Mapping[str, Any] = {
    **_PLAIN,
    "kind": "deberta-v2",
    "tokenizer": "deberta-v2",
    "architecture": "DebertaV2ForSequenceClassification",
    "labels": 1,
}
_ELECTRA_SCORES: Mapping[str, Any] = {
    **_PLAIN,
    "kind": "electra",
    "tokenizer": "electra",
    "architecture": "ElectraForSequenceClassification",
    "labels": 1,
}
_LOGITS = {"says": {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}}
_MODERNBERT_SCORES: Mapping[str, Any] = {
    **_MODERNBERT,
    **_PLAIN,
    "architecture": "ModernBertForSequenceClassification",
    "labels": 1,
}

_LLM: Mapping[str, Any] = {**_PLAIN, "tokenizer": "qwen-plain", "max_length": 8192, "labels": 1}


def _code(repository: str, name: str, kind: str) -> Mapping[str, Any]:
    """Code in another repository, that config.json names."""
    return {"says": {"model_type": kind, "architectures": [name]}, "code": repository}


def _new(tokenizer: str) -> Mapping[str, Any]:
    """Alibaba's own, whose model_type transformers has no class for."""
    return {**_BERT, "tokenizer": tokenizer, **_code("Alibaba-NLP/new-impl", "NewModel", "new")}


_EMBEDDERS: tuple[Lookalike, ...] = (
    *_each(
        "sentence-transformers/all-MiniLM-L6-v2 sentence-transformers/multi-qa-MiniLM-L6-cos-v1",
        **{**_BERT, "max_length": 256},
    ),
    *_each("sentence-transformers/all-MiniLM-L12-v2", **{**_BERT, "max_length": 128}),
    *_each("sentence-transformers/paraphrase-MiniLM-L6-v2", **{**_BERT, "max_length": 128, "steps": ()}),
    *_each(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        **{**_BERT, "tokenizer": "xlm-roberta", "max_length": 128, "steps": (), "config": {"pad_token_id": 0}},
    ),
    *_each("sentence-transformers/all-mpnet-base-v2", **_MPNET),
    *_each("sentence-transformers/multi-qa-mpnet-base-dot-v1", **{**_MPNET, "pooling": "cls", "steps": ()}),
    *_each(
        "sentence-transformers/paraphrase-multilingual-mpnet-base-v2",
        **{**_XLM_ROBERTA, "max_length": 128, "steps": ()},
    ),
    *_each("sentence-transformers/all-distilroberta-v1", **_ROBERTA),
    *_each(
        "sentence-transformers/distiluse-base-multilingual-cased-v2",
        **{**_DISTILBERT, "tokenizer": "distilbert-cased", "max_length": 128, "steps": (Dense(),)},
    ),
    *_each(
        "sentence-transformers/LaBSE",
        **{**_BERT, "tokenizer": "bert-cased", "pooling": "cls", "steps": (Dense(128), "Normalize")},
    ),
    *_each(
        "sentence-transformers/sentence-t5-base sentence-transformers/gtr-t5-base hkunlp/instructor-base",
        **_T5,
        steps=(Dense(128, _IDENTITY, bias=False), "Normalize"),
    ),
    *_each("sentence-transformers/msmarco-distilbert-base-tas-b", **_DISTILBERT, pooling="cls", steps=()),
    *_each(
        "BAAI/bge-small-en-v1.5 BAAI/bge-base-en-v1.5 BAAI/bge-large-en-v1.5 BAAI/bge-small-zh-v1.5"
        " BAAI/bge-large-zh-v1.5 Snowflake/snowflake-arctic-embed-m avsolatorio/GIST-small-Embedding-v0",
        **_BERT,
        pooling="cls",
    ),
    *_each("BAAI/bge-m3", **{**_XLM_ROBERTA, "max_length": 8192}, pooling="cls", token_heads=True),
    *_each("Snowflake/snowflake-arctic-embed-l-v2.0", **{**_XLM_ROBERTA, "max_length": 8192}, pooling="cls"),
    *_each("maidalun1020/bce-embedding-base_v1", **_XLM_ROBERTA, pooling="cls"),
    *_each(
        "intfloat/e5-small-v2 intfloat/e5-base-v2 intfloat/e5-large-v2 thenlper/gte-small thenlper/gte-large"
        " TaylorAI/bge-micro-v2 TaylorAI/gte-tiny",
        **_BERT,
    ),
    *_each("intfloat/multilingual-e5-small", **{**_BERT, "tokenizer": "xlm-roberta"}),
    *_each(
        "intfloat/multilingual-e5-base intfloat/multilingual-e5-large intfloat/multilingual-e5-large-instruct",
        **_XLM_ROBERTA,
    ),
    *_each("mixedbread-ai/mxbai-embed-large-v1 WhereIsAI/UAE-Large-V1", **_BERT, pooling="cls", steps=()),
    *_each("Qwen/Qwen3-Embedding-0.6B Qwen/Qwen3-Embedding-4B", **_QWEN3, **_QUERY),
    *_each("nomic-ai/modernbert-embed-base", **_MODERNBERT),
    *_each(
        "Alibaba-NLP/gte-modernbert-base ibm-granite/granite-embedding-english-r2",
        **_MODERNBERT,
        pooling="cls",
        steps=(),
    ),
    *_each(
        "google/embeddinggemma-300m",
        kind="gemma3_text",
        tokenizer="gemma",
        architecture="Gemma3TextModel",
        max_length=2048,
        steps=(Dense(256, _IDENTITY, bias=False), Dense(128, _IDENTITY, bias=False), "Normalize"),
        prompts={"query": "task: search result | query: ", "document": "title: none | text: "},
    ),
)

# Those that need more than a body, a pooling and layers after it, and those of other kinds.
_FURTHER_EMBEDDERS: tuple[Lookalike, ...] = (
    *_each("sentence-transformers/all-roberta-large-v1", **{**_ROBERTA, "max_length": 256}),
    *_each("sentence-transformers/msmarco-bert-base-dot-v5", **{**_BERT, "steps": ()}),
    *_each("sentence-transformers/allenai-specter", **_BERT, pooling="cls", steps=()),
    *_each(
        "sentence-transformers/paraphrase-albert-small-v2",
        kind="albert",
        tokenizer="albert",
        architecture="AlbertModel",
        max_length=256,
        steps=(),
    ),
    *_each(
        "facebook/contriever princeton-nlp/sup-simcse-bert-base-uncased pritamdeka/BioBERT-mnli-snli",
        **{**_BERT, **_PLAIN},
    ),
    *_each(
        "cointegrated/rubert-tiny2",
        **{**_BERT, "architecture": "BertForPreTraining", "max_length": 2048},
        pooling="cls",
    ),
    *_each(
        "cointegrated/LaBSE-en-ru",
        **{**_BERT, "architecture": "BertForPreTraining", "tokenizer": "bert-cased"},
        pooling="cls",
        steps=(Dense(128), "Normalize"),
    ),
    *_each("DeepPavlov/rubert-base-cased-sentence", **{**_BERT, **_PLAIN, "tokenizer": "bert-cased"}),
    *_each(
        "shibing624/text2vec-base-chinese moka-ai/m3e-base NeuML/pubmedbert-base-embeddings", **{**_BERT, "steps": ()}
    ),
    *_each("google-bert/bert-base-uncased", **{**_BERT, **_PLAIN, "architecture": "BertForMaskedLM"}),
    *_each(
        "google-bert/bert-base-multilingual-cased",
        **{**_BERT, **_PLAIN, "architecture": "BertForMaskedLM", "tokenizer": "bert-cased"},
    ),
    *_each("FacebookAI/xlm-roberta-base", **{**_XLM_ROBERTA, **_PLAIN, "architecture": "XLMRobertaForMaskedLM"}),
    *_each("distilbert/distilbert-base-uncased", **{**_DISTILBERT, **_PLAIN, "architecture": "DistilBertForMaskedLM"}),
    *_each("microsoft/mpnet-base", **{**_MPNET, **_PLAIN, "architecture": "MPNetForMaskedLM", "max_length": 512}),
    *_each(
        "microsoft/deberta-v3-base", **_PLAIN, kind="deberta-v2", tokenizer="deberta-v2", architecture="DebertaV2Model"
    ),
    *_each("jhgan/ko-sroberta-multitask", **{**_ROBERTA, "tokenizer": "bert-cased", "max_length": 128, "steps": ()}),
    *_each(
        "dangvantuan/sentence-camembert-large",
        **{
            **_XLM_ROBERTA,
            "kind": "camembert",
            "tokenizer": "camembert",
            "architecture": "CamembertModel",
            "max_length": 512,
            "steps": (),
        },
    ),
    *_each(
        "sentence-transformers-testing/stsb-bert-tiny-safetensors", **{**_BERT, "tokenizer": "bert/vocab", "steps": ()}
    ),
    *_each("ibm-granite/granite-embedding-30m-english", **_ROBERTA, pooling="cls"),
    *_each("ibm-granite/granite-embedding-107m-multilingual", **_XLM_ROBERTA, pooling="cls"),
    *_each("mixedbread-ai/deepset-mxbai-embed-de-large-v1", **_XLM_ROBERTA),
    *_each(
        "intfloat/e5-mistral-7b-instruct Salesforce/SFR-Embedding-Mistral",
        kind="mistral",
        tokenizer="llama",
        architecture="MistralModel",
        pooling="lasttoken",
        max_length=4096,
        config={"sliding_window": 4096},
    ),
    *_each(
        "BAAI/bge-multilingual-gemma2",
        kind="gemma2",
        tokenizer="gemma",
        architecture="Gemma2Model",
        pooling="lasttoken",
        max_length=4096,
        config={"query_pre_attn_scalar": 64, "sliding_window": 4096},
    ),
    *_each(
        "Linq-AI-Research/Linq-Embed-Mistral",
        kind="mistral",
        tokenizer="llama",
        architecture="MistralModel",
        pooling="lasttoken",
        max_length=4096,
    ),
    *_each(
        "nomic-ai/nomic-embed-text-v1.5",
        kind="nomic_bert",
        tokenizer="bert",
        architecture="NomicBertModel",
        max_length=2048,
        steps=(),
    ),
    *_each("Alibaba-NLP/gte-multilingual-base", **_new("xlm-roberta"), pooling="cls"),
    *_each(
        "Alibaba-NLP/gte-large-en-v1.5 Snowflake/snowflake-arctic-embed-m-v2.0", **_new("bert"), pooling="cls", steps=()
    ),
    *_each(
        "jinaai/jina-embeddings-v2-base-en",
        **{**_BERT, **_code("jinaai/jina-bert-implementation", "JinaBertModel", "bert")},
    ),
    *_each(
        "jinaai/jina-embeddings-v3",
        **{
            **_XLM_ROBERTA,
            **_code("jinaai/xlm-roberta-flash-implementation", "XLMRobertaLoRA", "xlm-roberta"),
            "modules": _JINA_V3,
        },
    ),
    *_each("NovaSearch/stella_en_400M_v5", **_new("bert"), pooling="mean"),
    *_each("infgrad/stella-base-en-v2", **_BERT, pooling="mean"),
    *_each(
        "minishlab/potion-base-8M minishlab/potion-retrieval-32M", kind="model2vec", tokenizer="bert", modules=_STATIC
    ),
    *_each(
        "sentence-transformers/static-retrieval-mrl-en-v1", kind="static", tokenizer="bert", modules=_STATIC_IN_FOLDER
    ),
    *_each("naver/splade-v3", **{**_BERT, "architecture": "BertForMaskedLM", "modules": _SPLADE, "steps": ()}),
)

_CROSS_ENCODERS: tuple[Lookalike, ...] = (
    *_each("cross-encoder/ms-marco-MiniLM-L6-v2 cross-encoder/ms-marco-TinyBERT-L2-v2", **_BERT_SCORES, **_LOGITS),
    *_each("BAAI/bge-reranker-base BAAI/bge-reranker-large", **_XLM_ROBERTA_SCORES),
    *_each("BAAI/bge-reranker-v2-m3", **{**_XLM_ROBERTA_SCORES, "max_length": 8192}),
    *_each("mixedbread-ai/mxbai-rerank-base-v1 mixedbread-ai/mxbai-rerank-xsmall-v1", **_DEBERTA_SCORES),
    *_each("cross-encoder/nli-deberta-v3-base", **{**_DEBERTA_SCORES, "labels": 3}),
    *_each("cross-encoder/ms-marco-electra-base", **{**_ELECTRA_SCORES, **_LOGITS}),
    *_each("cross-encoder/stsb-roberta-base cross-encoder/stsb-distilroberta-base", **_ROBERTA_SCORES),
    *_each("cross-encoder/mmarco-mMiniLMv2-L12-H384-v1", **_XLM_ROBERTA_SCORES, **_LOGITS),
    *_each("maidalun1020/bce-reranker-base_v1", **_XLM_ROBERTA_SCORES),
    *_each(
        "Alibaba-NLP/gte-multilingual-reranker-base",
        **{**_XLM_ROBERTA_SCORES, **_code("Alibaba-NLP/new-impl", "NewForSequenceClassification", "new")},
    ),
    *_each(
        "jinaai/jina-reranker-v2-base-multilingual",
        **{
            **_XLM_ROBERTA_SCORES,
            **_code(
                "jinaai/jina-reranker-v2-base-multilingual",
                "XLMRobertaForSequenceClassification",
                "xlm-roberta",
            ),
        },
    ),
    *_each(
        "Qwen/Qwen3-Reranker-0.6B Qwen/Qwen3-Reranker-4B",
        **{**_LLM, "kind": "qwen3", "architecture": "Qwen3ForCausalLM", "template": QWEN},
        score_tokens=("yes", "no"),
        prompts={"query": "Given a web search query, retrieve relevant passages that answer the query"},
        default_prompt="query",
    ),
    *_each(
        "mixedbread-ai/mxbai-rerank-base-v2 mixedbread-ai/mxbai-rerank-large-v2",
        **{**_LLM, "kind": "qwen2", "architecture": "Qwen2ForCausalLM", "template": MIXEDBREAD},
        score_tokens=("1", "0"),
    ),
    *_each(
        "zeroentropy/zerank-2",
        **{**_LLM, "kind": "qwen3", "architecture": "Qwen3ForCausalLM", "template": ZERANK},
        score_tokens=("Yes", None),
        processing={"chat_template": {"add_generation_prompt": True}},
    ),
    *_each(
        "tomaarsen/Qwen3-Reranker-0.6B-seq-cls",
        **{**_QWEN3, **_PLAIN, "head": "", "architecture": "Qwen3ForSequenceClassification", "labels": 1},
    ),
    *_each(
        "BAAI/bge-reranker-v2-gemma",
        **_PLAIN,
        kind="gemma",
        tokenizer="gemma",
        architecture="GemmaForCausalLM",
        max_length=4096,
        labels=1,
        card="text-classification",
    ),
    *_each(
        "Alibaba-NLP/gte-reranker-modernbert-base", **{**_MODERNBERT_SCORES, "config": {"classifier_pooling": "mean"}}
    ),
)

LOOKALIKES: tuple[Lookalike, ...] = (*_EMBEDDERS, *_FURTHER_EMBEDDERS, *_CROSS_ENCODERS)
