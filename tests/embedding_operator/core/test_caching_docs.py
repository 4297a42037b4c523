"""The examples in docs/caching.md are accepted."""

import re
from pathlib import Path

import pytest
import yaml

from support.builders import Raw, a_service
from support.pure_cluster import PureCluster

PAGE = (Path(__file__).parents[3] / "docs" / "caching.md").read_text()
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(sorted(example)))
def test_an_example_of_the_page_is_accepted_and_needs_a_job(example: Raw) -> None:
    model = example["spec"]["model"] if "spec" in example else example
    cluster = PureCluster(a_service(model=model))
    cluster.settle()
    assert cluster.condition("Accepted") == ("True", "Accepted")
    assert len(cluster.jobs) == 1
