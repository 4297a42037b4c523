import pytest

from embedding_operator.core import storage
from embedding_operator.core.resolve import ResolvedService, resolve_service, secrets_needed
from embedding_operator.errors import Problem, Refused
from embedding_operator.settings import Policy, SecretPolicy, Settings
from support.builders import SETTINGS, Raw, a_service, a_snapshot, a_storage_container

TOKEN = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-secret", "key": "HF_TOKEN"}}}
HF_HUB = a_storage_container(prefixes=["hf://"], container={"image": "hub:1", "env": [TOKEN]})
CATCH_ALL = a_storage_container(container={"image": "hub:1", "env": [TOKEN]})
Secrets = dict[str, frozenset[str] | None]
HF_SECRET: Secrets = {"hf-secret": frozenset({"HF_TOKEN"})}


def _resolve(
    service: Raw, *storage_containers: Raw, secrets: Secrets | None = None, settings: Settings = SETTINGS
) -> ResolvedService:
    return resolve_service(a_snapshot(service, *storage_containers, secrets=secrets), settings)


def _problems(
    service: Raw, *storage_containers: Raw, secrets: Secrets | None = None, settings: Settings = SETTINGS
) -> tuple[Problem, ...]:
    with pytest.raises(Refused) as refused:
        _resolve(service, *storage_containers, secrets=secrets, settings=settings)
    return refused.value.problems


def _needed(service: Raw, *storage_containers: Raw) -> dict[str, frozenset[str]]:
    return dict(secrets_needed(service, [storage.read(each) for each in storage_containers]))


def _with_policy(policy: Policy) -> Settings:
    return SETTINGS.model_copy(update={"policy": policy})


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (a_service(args=["--task=text_embedding"], backend="vllm"), "use --task=embed"),
        (a_service(args=["--backend=huggingface", "--task=embed"]), "use --task=text_embedding"),
        (a_service(args=["--modle_name=x"]), "did you mean --model_name?"),
        (a_service(args=["--model_name"]), "write --model_name=VALUE"),
        (a_service(args=["embed"]), "'embed' is not a flag"),
        (a_service(args=["--max_inputs=1", "--max_inputs=2"]), "1 and 2: keep one"),
        (a_service(args=["--model_name=a", "--model_name=b"], model={"name": "b"}), "spec.args has --model_name=a"),
        (
            a_service(args=["--model_name=a"], model={"name": "b"}),
            "spec.model.name is b and spec.args has --model_name=a",
        ),
        (a_service(args=["--backend=huggingface"], backend="vllm"), "spec.backend is vllm and spec.args has"),
        (
            a_service(args=["--truncate=end"], model={"truncate": "start"}),
            "spec.model.truncate is start and spec.args has --truncate=end: keep one",
        ),
        (a_service(model={"truncate": "left"}), "spec.model.truncate: Input should be 'off', 'start' or 'end'"),
        (a_service(model={"matryoshka": "256;512"}), "spec.model.matryoshka: String should match"),
        (a_service(args=["--model_dir=/x"]), "--model_dir is set by the operator"),
        (a_service(args=["--http_port=81"]), "--http_port is set by the operator"),
        (a_service(args=["--host=::"]), "--host is set by the operator"),
        (a_service(args=["--dtype=float7"]), "--dtype=float7"),
        (a_service(args=["--backend=fake"]), "--backend=fake gives made-up vectors"),
        (a_service(args=["--grace_period=99999999999"]), "--grace_period=99999999999: Input should be less than"),
        (a_service(args=["--grace_period=1e300"]), "--grace_period=1e300: Input should be less than or equal to 3600"),
        (a_service(args=["--stuck_after=1e300"]), "less than or equal to 86400"),
        (a_service(args=["--request_timeout=1e9", "--max_request_timeout=600"]), "less than or equal to 86400"),
        (a_service(args=[f"--model_name={'x' * 4000}"]), "String should have at most 253 characters"),
        (a_service(args=["--model_name=\x1b[31m"]), "spec.args[0] has characters that do not print"),
        (a_service(model={"name": "a\x00b"}), "must contain printable characters only"),
        (a_service(model={"storageUri": "hf://a/\x07b"}), "has characters that do not print"),
        (a_service(model={"storageUri": "MiniLM"}), "use scheme://..., such as hf://owner/name"),
        (a_service(model={"storageUri": "hf://MiniLM"}), "use hf://owner/name"),
        (a_service(model={"storageURI": "x"}), "spec.model.storageURI: unknown field; did you mean storageUri?"),
        (a_service(backend="tensorflow"), "spec.backend: Input should be 'auto', 'vllm' or 'huggingface'"),
        (a_service(name="2nd"), "metadata.name '2nd' cannot be a host name"),
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
        (a_service(resources={"requests": {"nvidia.com/gpu": 1}}), "set it in spec.resources.limits too"),
        (
            a_service(model={"tokenSecretRef": {"name": "s", "key": "../../a"}}, replicas=0),
            "spec.model.tokenSecretRef.key: '../../a' cannot be a key",
        ),
        (
            a_service(auth={"apiKeysSecretRef": {"name": "s", "key": "a b"}}),
            "spec.auth.apiKeysSecretRef.key: 'a b' cannot be a key",
        ),
        (a_service(auth={}), "spec.auth.apiKeysSecretRef is missing"),
        (a_service(auth={"apiKeysSecretRef": {"name": "../../kube-system/secrets/x"}}), "name: String should match"),
        (a_service(model={"tokenSecretRef": {"name": "../pods/x"}}), "tokenSecretRef.name: String should match"),
        (a_service(model={"storageContainerName": "A"}), "spec.model.storageContainerName: String should match"),
    ],
)
def test_an_invalid_spec_has_one_message_that_says_what_to_change(service: Raw, words: str) -> None:
    (problem,) = _problems(service)
    assert problem.reason == "InvalidSpec"
    assert words in problem.message


def test_every_problem_is_reported_at_once() -> None:
    service = a_service(
        args=["--task=text_embedding", "--nonsense=1"],
        backend="vllm",
        model={"storageUri": "hf:/x", "tokenSecretRef": {"name": "gone"}},
        surprise=1,
    )
    assert [problem.reason for problem in _problems(service)] == ["InvalidSpec"] * 4 + ["SecretNotFound"]


@pytest.mark.parametrize(
    ("service", "name", "backend"),
    [
        (a_service(), "embedding-model", "auto"),
        (a_service(model={"name": "mini"}), "mini", "auto"),
        (a_service(model={"name": "mini"}, args=["--model-name=mini"]), "mini", "auto"),
        (a_service(args=["--backend=huggingface"]), "embedding-model", "huggingface"),
        (a_service(backend="huggingface"), "embedding-model", "huggingface"),
        (a_service(backend="vllm"), "embedding-model", "vllm"),
        (a_service(backend="auto"), "embedding-model", "auto"),
        (a_service(backend="huggingface", args=["--backend=huggingface"]), "embedding-model", "huggingface"),
    ],
)
def test_defaults_are_applied(service: Raw, name: str, backend: str) -> None:
    serve = _resolve(service).serve
    assert (serve.model_name, serve.backend, serve.task) == (name, backend, None)


@pytest.mark.parametrize(
    ("model", "argv"),
    [
        ({"matryoshka": "256,128"}, ["--matryoshka=[128, 256]"]),
        ({"matryoshka": 256}, ["--matryoshka=[256]"]),
        ({"matryoshka": "any", "truncate": "end"}, ["--matryoshka=any", "--truncate=end"]),
        ({"truncate": "off"}, []),
    ],
)
def test_sizes_and_the_end_that_is_cut_become_flags_of_the_server(model: Raw, argv: list[str]) -> None:
    written = _resolve(a_service(model=model)).serve.to_argv()
    assert [arg for arg in written if arg.startswith(("--matryoshka", "--truncate"))] == argv


@pytest.mark.parametrize("model", [{}, {"name": "mini"}])
def test_a_model_name_given_again_is_an_alias(model: Raw) -> None:
    serve = _resolve(a_service(args=["--model_name=mini", "--model_name=other"], model=model)).serve
    assert (serve.model_name, serve.model_aliases) == ("mini", ("other",))
    assert serve.to_argv()[1:3] == ["--model_name=mini", "--model_name=other"]


def test_replicas_are_one_when_left_out_and_what_the_spec_says_otherwise() -> None:
    services = [a_service(), a_service(replicas=0), a_service(replicas=7)]
    assert [_resolve(service).replicas for service in services] == [1, 0, 7]


def test_the_guides_services_and_storage_container_are_accepted_as_they_are_written() -> None:
    amounts = {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"}
    args = ["--model_name=sentence-transformer", "--task=text_embedding", "--backend=huggingface"]
    service = a_service(args=args, resources={"limits": amounts, "requests": {**amounts, "memory": "1Gi"}})
    resolved = _resolve(service, CATCH_ALL, secrets={"hf-secret": None})
    assert (resolved.serve.model_name, resolved.accelerator) == ("sentence-transformer", "nvidia.com/gpu")


class TestSecrets:
    @pytest.mark.parametrize(
        ("secrets", "words"),
        [
            (
                {"hf-secret": None},
                "ClusterStorageContainer hf-hub names key HF_TOKEN of Secret hf-secret, which does not exist in",
            ),
            ({"hf-secret": frozenset({"OTHER"})}, "Secret hf-secret, which has no such key: add the key"),
        ],
    )
    def test_a_missing_secret_or_key_is_reported_with_what_names_it(self, secrets: Secrets, words: str) -> None:
        (problem,) = _problems(a_service(), HF_HUB, secrets=secrets)
        assert problem.reason == "SecretNotFound"
        assert words in problem.message

    def test_no_message_names_a_key_that_the_user_did_not(self) -> None:
        (problem,) = _problems(a_service(), HF_HUB, secrets={"hf-secret": frozenset({"root-password"})})
        assert "root-password" not in problem.message

    def test_the_services_own_token_replaces_the_storage_containers(self) -> None:
        service = a_service(model={"tokenSecretRef": {"name": "mine"}})
        assert _needed(service, HF_HUB) == {"mine": frozenset({"HF_TOKEN"})}
        resolved = _resolve(service, HF_HUB, secrets={"mine": frozenset({"HF_TOKEN"})})
        assert resolved.secret_keys["HF_TOKEN"].name == "mine"

    def test_the_api_keys_are_needed_beside_the_token(self) -> None:
        assert _needed(WITH_KEYS) == {"mine": frozenset({"HF_TOKEN"}), "who": frozenset({"api-keys"})}

    def test_one_secret_may_hold_the_token_and_the_api_keys(self) -> None:
        service = a_service(model={"tokenSecretRef": {"name": "all"}}, auth={"apiKeysSecretRef": {"name": "all"}})
        assert _needed(service) == {"all": frozenset({"HF_TOKEN", "api-keys"})}

    @pytest.mark.parametrize(
        ("keys", "words"),
        [
            (None, "kubectl create secret generic who -n default --from-file=api-keys=<file of lines NAME KEY>"),
            (frozenset({"keys"}), "key api-keys of Secret who, which has no such key"),
        ],
    )
    def test_missing_api_keys_are_reported_with_how_to_create_them(
        self, keys: frozenset[str] | None, words: str
    ) -> None:
        (problem,) = _problems(WITH_KEYS, secrets={"mine": frozenset({"HF_TOKEN"}), "who": keys})
        assert problem.reason == "SecretNotFound"
        assert problem.message.startswith("spec.auth.apiKeysSecretRef names")
        assert words in problem.message

    def test_api_keys_come_from_a_secret_or_a_file_of_the_image_and_not_from_both(self) -> None:
        args: list[str] = ["--api_keys_file=/image/keys"]
        secrets: Secrets = {"who": frozenset({"api-keys"})}
        (problem,) = _problems(a_service(args=args, auth={"apiKeysSecretRef": {"name": "who"}}), secrets=secrets)
        assert problem.reason == "InvalidSpec"
        assert "and spec.args has --api_keys_file=/image/keys: keep one" in problem.message
        assert str(_resolve(a_service(args=args)).serve.api_keys_file) == "/image/keys"

    def test_an_optional_secret_may_be_missing(self) -> None:
        ref = {"name": "gone", "key": "k", "optional": True}
        container = {"env": [{"name": "X", "valueFrom": {"secretKeyRef": ref}}]}
        resolved = _resolve(a_service(), a_storage_container(container=container), secrets={"gone": None})
        assert resolved.secret_keys == {}

    def test_a_spec_that_cannot_be_read_needs_no_secret(self) -> None:
        assert _needed(a_service(backend="tensorflow"), HF_HUB) == {}


class TestCatchAll:
    def test_a_secret_that_it_names_is_optional_and_the_user_is_warned(self) -> None:
        resolved = _resolve(a_service(), CATCH_ALL, secrets={"hf-secret": None})
        assert resolved.fetcher.name == "hf-hub"
        assert resolved.secret_keys == {}
        (note,) = resolved.notes
        assert note == (
            "The model is fetched without HF_TOKEN: ClusterStorageContainer hf-hub takes it from key HF_TOKEN of "
            "Secret hf-secret, which does not exist in namespace default."
        )

    def test_its_secret_is_used_where_it_exists(self) -> None:
        resolved = _resolve(a_service(), CATCH_ALL, secrets=HF_SECRET)
        assert (resolved.secret_keys["HF_TOKEN"].name, resolved.notes) == ("hf-secret", ())

    def test_the_pods_stay_the_same_when_its_secret_is_created(self) -> None:
        with_it = _resolve(a_service(), CATCH_ALL, secrets=HF_SECRET)
        without = _resolve(a_service(), CATCH_ALL, secrets={"hf-secret": None})
        assert with_it.fetcher == without.fetcher
        assert with_it.fetcher.secrets["HF_TOKEN"].optional

    def test_a_service_that_names_it_waits_for_its_secret(self) -> None:
        service = a_service(model={"storageContainerName": "hf-hub"})
        (problem,) = _problems(service, CATCH_ALL, secrets={"hf-secret": None})
        assert problem.reason == "SecretNotFound"


class TestStorageContainers:
    @pytest.mark.parametrize(
        ("service", "storage_containers", "words"),
        [
            (
                a_service(model={"storageContainerName": "gone"}),
                [HF_HUB],
                "nor a ClusterStorageContainer 'gone' exists",
            ),
            (a_service(model={"storageContainerName": "hf-hub"}), [{**HF_HUB, "disabled": True}], "is disabled"),
            (a_service(model={"storageUri": "hdfs://host/m"}), [], "an image that fetches hdfs://"),
            (a_service(model={"storageUri": "https://host/"}), [], "use https://host/path/name.tar.gz"),
            (
                a_service(model={"storageUri": "hdfs://host/m"}),
                [a_storage_container(container={"env": []})],
                "an image that fetches hdfs://",
            ),
        ],
    )
    def test_a_model_that_nothing_fetches_waits_for_a_storage_container(
        self, service: Raw, storage_containers: list[Raw], words: str
    ) -> None:
        (problem,) = _problems(service, *storage_containers)
        assert problem.reason == "StorageContainerNotFound"
        assert words in problem.message

    @pytest.mark.parametrize(
        "uri", ["s3://bucket/m", "gs://bucket/m", "az://box/m", "https://host/m.tar.gz", "http://host/m.zip"]
    )
    def test_an_object_store_or_a_web_server_needs_no_storage_container(self, uri: str) -> None:
        assert _resolve(a_service(model={"storageUri": uri})).fetcher.kind == "BuiltIn"

    def test_a_uri_that_only_a_storage_container_knows_is_left_to_its_image(self) -> None:
        resolved = _resolve(a_service(model={"storageUri": "hdfs://host/m"}), CATCH_ALL, secrets=HF_SECRET)
        assert resolved.fetcher.name == "hf-hub"

    def test_one_that_cannot_be_read_holds_the_service_whose_status_names_it(self) -> None:
        newer = a_storage_container("mirror", regexes=["("], container={"image": "hub:1"})
        status = {"storageContainer": {"kind": "ClusterStorageContainer", "name": "mirror"}}
        (problem,) = _problems(a_service(status=status), newer)
        assert problem.reason == "StorageContainerUnreadable"
        assert "mirror" in problem.message

    def test_one_that_cannot_be_read_holds_the_service_that_names_it(self) -> None:
        newer = a_storage_container("mirror", prefixes=["s3://"], surprise=True)
        (problem,) = _problems(a_service(model={"storageContainerName": "mirror"}), newer)
        assert problem.reason == "StorageContainerUnreadable"
        assert "surprise: unknown field" in problem.message


class TestPolicy:
    @pytest.mark.parametrize(
        ("args", "value"),
        [
            (["--trust_remote_code"], "policy.trustRemoteCode"),
            (["--trust-remote-code=yes"], "policy.trustRemoteCode"),
            (["--allow_pickle=1"], "policy.allowPickle"),
        ],
    )
    def test_a_flag_that_runs_code_of_the_model_is_refused_with_the_value_that_would_allow_it(
        self, args: list[str], value: str
    ) -> None:
        (problem,) = _problems(a_service(args=args))
        assert problem.reason == "PolicyViolation"
        assert value in problem.message

    def test_the_field_that_runs_code_of_the_model_needs_the_same_permission(self) -> None:
        service = a_service(model={"trustRemoteCode": True})
        (problem,) = _problems(service)
        assert problem.reason == "PolicyViolation"
        assert "take it out of spec.args and spec.model.trustRemoteCode" in problem.message
        assert "policy.trustRemoteCode" in problem.message
        settings = _with_policy(Policy(trust_remote_code=True))
        assert "--trust_remote_code=True" in _resolve(service, settings=settings).serve.to_argv()

    @pytest.mark.parametrize("flag", ["--trust_remote_code", "--trust-remote-code=true"])
    def test_an_allowed_flag_reaches_the_server(self, flag: str) -> None:
        settings = _with_policy(Policy(trust_remote_code=True))
        assert "--trust_remote_code=True" in _resolve(a_service(args=[flag]), settings=settings).serve.to_argv()

    def test_switching_off_what_is_off_needs_no_permission(self) -> None:
        assert not _resolve(a_service(args=["--trust_remote_code=false", "--allow_pickle=no"])).serve.allow_pickle

    def test_a_forbidden_flag_is_reported_beside_an_unknown_one(self) -> None:
        reasons = [each.reason for each in _problems(a_service(args=["--nonsense=1", "--trust_remote_code"]))]
        assert sorted(reasons) == ["InvalidSpec", "PolicyViolation"]

    def test_an_image_is_refused_with_the_value_that_would_allow_it(self) -> None:
        (problem,) = _problems(a_service(image="evil.example/shell:1"))
        assert problem.reason == "PolicyViolation"
        assert "spec.image 'evil.example/shell:1' is not allowed" in problem.message
        assert "policy.images" in problem.message

    @pytest.mark.parametrize("image", ["registry.example/team/runtime:1", "runtime:cpu"])
    def test_an_image_of_the_policy_or_of_the_operator_is_allowed(self, image: str) -> None:
        settings = _with_policy(Policy(images=("registry.example/team/*",)))
        assert _resolve(a_service(image=image), settings=settings).image == image

    def test_a_pattern_covers_the_whole_image(self) -> None:
        settings = _with_policy(Policy(images=("registry.example/team/*",)))
        assert _problems(a_service(image="evil.example/registry.example/team/x"), settings=settings)

    def test_the_image_of_a_namespaced_storage_container_is_a_users_too(self) -> None:
        own = a_storage_container("own", namespace="default", container={"image": "evil:1"})
        (problem,) = _problems(a_service(), own)
        assert problem.reason == "PolicyViolation"
        assert "StorageContainer own: spec.container.image 'evil:1'" in problem.message


class TestLabelledSecrets:
    SETTINGS = _with_policy(Policy(secrets=SecretPolicy(require_label=True)))

    def _snapshot_of(self, service: Raw, *storage_containers: Raw, name: str) -> ResolvedService:
        snapshot = a_snapshot(
            service,
            *storage_containers,
            secrets={name: frozenset({"HF_TOKEN", "api-keys"})},
            unlabelled_secrets=frozenset({name}),
        )
        return resolve_service(snapshot, self.SETTINGS)

    def test_a_secret_without_the_label_is_refused_with_the_command_that_labels_it(self) -> None:
        with pytest.raises(Refused) as refused:
            self._snapshot_of(a_service(auth={"apiKeysSecretRef": {"name": "db"}}), name="db")
        (problem,) = refused.value.problems
        assert problem.reason == "SecretNotAllowed"
        assert "kubectl label secret db -n default serving.embeddings.dev/use=true" in problem.message

    def test_an_optional_secret_without_the_label_does_not_reach_the_pod(self) -> None:
        resolved = self._snapshot_of(a_service(), CATCH_ALL, name="hf-secret")
        assert resolved.fetcher.secrets == {}
        assert "lacks the label" in resolved.notes[0]

    def test_an_optional_secret_that_does_not_exist_yet_does_not_reach_the_pod(self) -> None:
        resolved = _resolve(a_service(), CATCH_ALL, secrets={"hf-secret": None}, settings=self.SETTINGS)
        assert resolved.fetcher.secrets == {}


def test_without_that_policy_no_secret_needs_a_label() -> None:
    service = a_service(model={"tokenSecretRef": {"name": "mine"}})
    secrets = {"mine": frozenset({"HF_TOKEN"})}
    snapshot = a_snapshot(service, secrets=secrets, unlabelled_secrets=frozenset({"mine"}))
    assert resolve_service(snapshot, SETTINGS).secret_keys["HF_TOKEN"].name == "mine"


WITH_KEYS = a_service(model={"tokenSecretRef": {"name": "mine"}}, auth={"apiKeysSecretRef": {"name": "who"}})
