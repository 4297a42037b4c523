import pytest

from embedding_operator.core.checks import secret_keys_needed, settle
from embedding_operator.core.observed import Observed
from embedding_operator.errors import Problem, Refused
from support.builders import Raw, a_service, a_storage_container, an_observation

HF_HUB = a_storage_container(
    prefixes=["hf://", "s3://"],
    container={
        "image": "hub:1",
        "env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-secret", "key": "HF_TOKEN"}}}],
    },
)
CATCH_ALL = {**HF_HUB, "spec": {"container": HF_HUB["spec"]["container"]}}
NOTHING = an_observation()


def _problems(raw: Raw, seen: Observed = NOTHING) -> tuple[Problem, ...]:
    with pytest.raises(Refused) as refused:
        settle(raw, seen)
    return refused.value.problems


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (a_service(args=["--task=text_embedding"]), "write --task=embed"),
        (a_service(args=["--backend=huggingface", "--task=embed"]), "write --task=text_embedding"),
        (a_service(args=["--modle_name=x"]), "did you mean --model_name?"),
        (a_service(args=["--model_name"]), "write --model_name=VALUE"),
        (a_service(args=["embed"]), "'embed' is not a flag"),
        (a_service(args=["--model_name=a", "--model_name=b"]), "as a and b: keep one"),
        (
            a_service(args=["--model_name=a"], model={"name": "b"}),
            "spec.model.name is b and spec.args has --model_name=a",
        ),
        (a_service(args=["--backend=huggingface"], backend="vllm"), "spec.backend is vllm and spec.args has"),
        (a_service(args=["--model_dir=/x"]), "--model_dir is set by the operator"),
        (a_service(args=["--http_port=81"]), "--http_port is set by the operator"),
        (a_service(args=["--host=::"]), "--host is set by the operator"),
        (a_service(args=["--dtype=float7"]), "--dtype=float7"),
        (a_service(model={"storageUri": "MiniLM"}), "write scheme://..., such as hf://owner/name"),
        (a_service(model={"storageUri": "hf://MiniLM"}), "write hf://owner/name"),
        (a_service(model={"storageURI": "x"}), "spec.model.storageURI is not a field: did you mean storageUri?"),
        (a_service(backend="tensorflow"), "spec.backend: Input should be 'vllm' or 'huggingface'"),
        (a_service(name="2nd"), "metadata.name '2nd' becomes a host name"),
        (a_service(name="a" * 64), "at most 63"),
        (a_service(resources={"limits": {"memory": "two"}}), "spec.resources.limits.memory: String should match"),
        (
            a_service(resources={"limits": {"memory": "1Gi"}, "requests": {"memory": "2048Mi"}}),
            "the request of memory, 2048Mi, is above its limit, 1Gi",
        ),
        (
            a_service(resources={"limits": {"nvidia.com/gpu": "2"}, "requests": {"nvidia.com/gpu": 1}}),
            "request 1 and limit 2 of nvidia.com/gpu must be equal",
        ),
        (a_service(resources={"requests": {"nvidia.com/gpu": 1}}), "ask for it in spec.resources.limits too"),
        (a_service(auth={}), "spec.auth.apiKeysSecretRef is missing"),
        (a_service(auth={"apiKeysSecretRef": {"name": "../../kube-system/secrets/x"}}), "name: String should match"),
        (a_service(model={"tokenSecretRef": {"name": "../pods/x"}}), "tokenSecretRef.name: String should match"),
        (a_service(model={"storageContainerName": "A"}), "spec.model.storageContainerName: String should match"),
    ],
)
def test_a_spec_that_cannot_be_obeyed_is_invalid_with_one_message_that_says_what_to_change(
    service: Raw, words: str
) -> None:
    (problem,) = _problems(service)
    assert problem.reason == "InvalidSpec"
    assert words in problem.message


def test_all_that_is_wrong_is_said_at_once() -> None:
    service = a_service(
        args=["--task=text_embedding", "--nonsense=1"],
        model={"storageUri": "hf:/x", "tokenSecretRef": {"name": "gone"}},
        surprise=1,
    )
    assert [problem.reason for problem in _problems(service)] == ["InvalidSpec"] * 4 + ["SecretNotFound"]


@pytest.mark.parametrize(
    ("service", "name", "backend"),
    [
        (a_service(), "embedding-model", "vllm"),
        (a_service(model={"name": "mini"}), "mini", "vllm"),
        (a_service(model={"name": "mini"}, args=["--model-name=mini"]), "mini", "vllm"),
        (a_service(args=["--backend=huggingface"]), "embedding-model", "huggingface"),
        (a_service(backend="huggingface"), "embedding-model", "huggingface"),
        (a_service(backend="huggingface", args=["--backend=huggingface"]), "embedding-model", "huggingface"),
    ],
)
def test_what_the_spec_leaves_open_is_decided(service: Raw, name: str, backend: str) -> None:
    serve = settle(service, NOTHING).serve
    assert (serve.model_name, serve.backend, serve.task) == (name, backend, None)


@pytest.mark.parametrize("flag", ["--trust_remote_code", "--trust-remote-code=true"])
def test_a_flag_that_no_field_stands_for_goes_to_the_server_as_it_is(flag: str) -> None:
    assert "--trust_remote_code=True" in settle(a_service(args=[flag]), NOTHING).serve.to_argv()


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        (
            {"hf-secret": None},
            "ClusterStorageContainer hf-hub asks for key HF_TOKEN of Secret hf-secret, which is not in",
        ),
        ({"hf-secret": frozenset({"TOKEN"})}, "Secret hf-secret, which has TOKEN: add the key, or name another"),
        ({"hf-secret": frozenset[str]()}, "which has no key at all"),
    ],
)
def test_a_missing_secret_or_key_is_named_with_who_asks_for_it(
    secrets: dict[str, frozenset[str] | None], words: str
) -> None:
    (problem,) = _problems(a_service(), an_observation(storage_containers=[HF_HUB], secrets=secrets))
    assert problem.reason == "SecretNotFound"
    assert words in problem.message


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (None, "Secret hf-secret does not exist in namespace default: the model is downloaded without a token."),
        (
            frozenset({"x"}),
            "Secret hf-secret in namespace default has no key HF_TOKEN: the model is downloaded without",
        ),
    ],
)
def test_a_catch_all_does_without_a_secret_that_is_missing_and_says_so(keys: frozenset[str] | None, words: str) -> None:
    settled = settle(a_service(), an_observation(storage_containers=[CATCH_ALL], secrets={"hf-secret": keys}))
    (note,) = settled.notes
    assert note.startswith(words)
    assert "HF_TOKEN" not in settled.secret_keys


def test_a_catch_all_uses_a_secret_that_exists() -> None:
    secrets = {"hf-secret": frozenset({"HF_TOKEN"})}
    settled = settle(a_service(), an_observation(storage_containers=[CATCH_ALL], secrets=secrets))
    assert settled.notes == ()
    assert settled.secret_keys["HF_TOKEN"].name == "hf-secret"


def test_a_secret_of_a_catch_all_that_the_service_names_is_waited_for() -> None:
    seen = an_observation(storage_containers=[CATCH_ALL], secrets={"hf-secret": None})
    (problem,) = _problems(a_service(model={"storageContainerName": "hf-hub"}), seen)
    assert problem.reason == "SecretNotFound"


def test_the_services_own_token_is_waited_for_beside_a_catch_all() -> None:
    service = a_service(model={"tokenSecretRef": {"name": "mine"}})
    (problem,) = _problems(service, an_observation(storage_containers=[CATCH_ALL], secrets={"mine": None}))
    assert problem.reason == "SecretNotFound"


def test_the_services_own_token_is_asked_for_in_place_of_the_storage_containers() -> None:
    service = a_service(model={"tokenSecretRef": {"name": "mine"}})
    assert secret_keys_needed(service, [HF_HUB]) == {"mine": frozenset({"HF_TOKEN"})}
    settled = settle(service, an_observation(storage_containers=[HF_HUB], secrets={"mine": frozenset({"HF_TOKEN"})}))
    assert settled.secret_keys["HF_TOKEN"].name == "mine"


WITH_KEYS = a_service(model={"tokenSecretRef": {"name": "mine"}}, auth={"apiKeysSecretRef": {"name": "who"}})
TOKEN = {"mine": frozenset({"HF_TOKEN"})}


def test_the_api_keys_are_asked_for_beside_the_token() -> None:
    assert secret_keys_needed(WITH_KEYS, []) == {**TOKEN, "who": frozenset({"api-keys"})}


def test_one_secret_may_hold_the_token_and_the_api_keys() -> None:
    service = a_service(model={"tokenSecretRef": {"name": "all"}}, auth={"apiKeysSecretRef": {"name": "all"}})
    assert secret_keys_needed(service, []) == {"all": frozenset({"HF_TOKEN", "api-keys"})}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (None, "kubectl create secret generic who -n default --from-file=api-keys=<file of lines NAME KEY>"),
        (frozenset({"keys"}), "key api-keys of Secret who, which has keys: add the key, or name another"),
    ],
)
def test_missing_api_keys_are_named_with_how_to_make_them(keys: frozenset[str] | None, words: str) -> None:
    (problem,) = _problems(WITH_KEYS, an_observation(secrets={**TOKEN, "who": keys}))
    assert problem.reason == "SecretNotFound"
    assert problem.message.startswith("spec.auth.apiKeysSecretRef asks for")
    assert words in problem.message


def test_api_keys_come_from_a_secret_or_a_file_of_the_image_and_not_from_both() -> None:
    args, seen = ["--api_keys_file=/image/keys"], an_observation(secrets={"who": frozenset({"api-keys"})})
    (problem,) = _problems(a_service(args=args, auth={"apiKeysSecretRef": {"name": "who"}}), seen)
    assert problem.reason == "InvalidSpec"
    assert "and spec.args has --api_keys_file=/image/keys: keep one" in problem.message
    assert str(settle(a_service(args=args), seen).serve.api_keys_file) == "/image/keys"


def test_an_optional_secret_may_be_missing() -> None:
    ref = {"name": "gone", "key": "k", "optional": True}
    container = {"env": [{"name": "X", "valueFrom": {"secretKeyRef": ref}}]}
    seen = an_observation(storage_containers=[a_storage_container(container=container)], secrets={"gone": None})
    assert settle(a_service(), seen).fetcher.name == "hf-hub"


def test_a_spec_that_cannot_be_read_needs_no_secret() -> None:
    assert secret_keys_needed(a_service(backend="tensorflow"), [HF_HUB]) == {}


@pytest.mark.parametrize(
    ("service", "storage_containers", "words"),
    [
        (a_service(model={"storageContainerName": "gone"}), [HF_HUB], "'gone' is there that could be read"),
        (a_service(model={"storageContainerName": "hf-hub"}), [{**HF_HUB, "disabled": True}], "it is disabled"),
        (a_service(model={"storageUri": "s3://bucket/m"}), [], "an image that fetches s3://"),
        (
            a_service(model={"storageUri": "s3://bucket/m"}),
            [a_storage_container(container={"env": []})],
            "an image that fetches s3://",
        ),
    ],
)
def test_a_model_that_nothing_fetches_waits_for_a_storage_container(
    service: Raw, storage_containers: list[Raw], words: str
) -> None:
    seen = an_observation(storage_containers=storage_containers)
    (problem,) = _problems(service, seen)
    assert problem.reason == "StorageContainerNotFound"
    assert words in problem.message


def test_an_address_that_only_a_storage_container_knows_is_left_to_its_image() -> None:
    seen = an_observation(storage_containers=[HF_HUB], secrets={"hf-secret": frozenset({"HF_TOKEN"})})
    assert settle(a_service(model={"storageUri": "s3://bucket/m"}), seen).fetcher.name == "hf-hub"
