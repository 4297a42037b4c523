"""The caches in docs/model-cache.md and in examples/ are accepted."""

import re
from pathlib import Path

import pytest
import yaml

from support.builders import Raw
from support.caches import CacheWorld

ROOT = Path(__file__).parents[3]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/model-cache.md").read_text(), re.DOTALL)
EXAMPLES = [(ROOT / f"examples/{name}.yaml").read_text() for name in ("model-cache", "cluster-model-cache")]
CACHES = [
    each for text in (*BLOCKS, *EXAMPLES) for each in yaml.safe_load_all(text) if each["kind"].endswith("ModelCache")
]


def test_both_kinds_are_shown() -> None:
    assert {each["kind"] for each in CACHES} == {"ModelCache", "ClusterModelCache"}


@pytest.mark.parametrize("cache", CACHES, ids=lambda each: str(each["kind"]))
def test_an_example_is_accepted_and_its_models_are_downloaded(cache: Raw) -> None:
    metadata = {**cache["metadata"], "uid": "cac4e", "generation": 1}
    namespace = {} if cache["kind"] == "ClusterModelCache" else {"namespace": "default"}
    hf_secret: dict[str, frozenset[str] | None] = {"hf-secret": frozenset({"HF_TOKEN"})}
    world = CacheWorld({**cache, "metadata": {**metadata, **namespace}}, secrets=hf_secret)
    world.settle()
    assert world.condition()[:2] == ("False", "Pending")
    assert len(world.active()) == min(2, len(cache["spec"]["models"]))
