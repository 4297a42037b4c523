import pytest
from pydantic import ValidationError

from embedding_operator.resources.v1alpha1 import EmbeddingService
from embedding_operator.resources.words import in_words, without_unknown
from support.builders import Raw, a_service


def _error(raw: Raw) -> ValidationError:
    with pytest.raises(ValidationError) as error:
        EmbeddingService.model_validate(raw)
    return error.value


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (a_service(replica=2), "spec.replica: unknown field; did you mean replicas?"),
        (
            a_service(xyz=2),
            "spec.xyz: unknown field; valid fields: args, auth, backend, image, model, replicas, resources, rollout",
        ),
        (a_service(replicas=-1), "spec.replicas: Input should be greater than or equal to 0, not -1"),
        (
            a_service(backend="x" * 4000),
            f"spec.backend: Input should be 'auto', 'vllm' or 'huggingface', not '{'x' * 99}...",
        ),
        (a_service(args=[1]), "spec.args[0]: Input should be a valid string, not 1"),
        (a_service(model={"tokenSecretRef": {"key": "k"}}), "spec.model.tokenSecretRef.name is missing"),
        (a_service(resources={"limit": {}}), "spec.resources.limit: unknown field; did you mean limits?"),
    ],
)
def test_a_problem_is_one_line_with_the_path_of_its_field_first(raw: Raw, words: str) -> None:
    assert in_words(_error(raw), EmbeddingService) == [words]


def test_unknown_fields_are_taken_out_and_nothing_else() -> None:
    raw = a_service(model={"naem": "x"}, surprise=1)
    assert without_unknown(raw, _error(raw)) == a_service()
