import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedding_runtime.contract import (
    CANNOT_MOVE_VECTORS,
    TASKS,
    BackendName,
    ContractError,
    Dtype,
    LogFormat,
    ServeArgs,
    Truncate,
)

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)

NAMES = st.text(min_size=1, max_size=253).filter(str.isprintable)


@st.composite
def serve_args(draw: st.DrawFn) -> ServeArgs:
    backend = draw(st.sampled_from(BackendName))
    return ServeArgs.model_validate(
        {
            "model_dir": "/" + draw(WORDS),
            "model_name": draw(NAMES),
            "model_aliases": tuple(draw(st.lists(NAMES, max_size=3))),
            "allowed_origins": tuple(draw(st.lists(WORDS, max_size=2))),
            "allowed_headers": tuple(draw(st.lists(WORDS, max_size=2))),
            "backend": backend,
            "task": draw(st.sampled_from([None, *(word for words in TASKS[backend] for word in words.values())])),
            "dtype": draw(st.sampled_from(Dtype)),
            "matryoshka": draw(st.sampled_from([(), (64,), (256, 512), "any"])),
            "truncate": draw(st.sampled_from(Truncate)),
            "max_length": draw(st.none() | st.integers(min_value=1)),
            "host": draw(WORDS),
            "http_port": draw(st.integers(1, 65535)),
            "max_inputs": draw(st.sampled_from([1, 2048])),
            "request_timeout": draw(st.floats(0.001, 600)),
            "allow_pickle": draw(st.booleans()),
            "allow_padded": draw(st.booleans()),
            **({"minimum_cosine": draw(st.floats(-1, 1))} if backend is BackendName.HUGGINGFACE else {}),
            "trust_remote_code": draw(st.booleans()),
            "api_keys_file": draw(st.none() | WORDS.map("/{}".format)),
            "log_format": draw(st.sampled_from(LogFormat)),
            "access_log": draw(st.booleans()),
        }
    )


@given(serve_args())
@example(ServeArgs(model_name="--", host="--"))
def test_flags_read_back_as_they_were_written(args: ServeArgs) -> None:
    assert ServeArgs.from_argv(args.to_argv()) == args


@pytest.mark.parametrize(
    "argv",
    [
        ["--model_name=a", "--http_port=1"],
        ["--model-name=a", "--http-port=1"],
        ["--model-name", "a", "--http_port", "1"],
        ["--model_name=a", "--model-name=a", "--http_port=1"],
    ],
)
def test_dashes_underscores_and_repetition_make_no_difference(argv: list[str]) -> None:
    assert ServeArgs.from_argv(argv) == ServeArgs.model_validate({"model_name": "a", "http_port": 1})


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["--model_name is required"]),
        (
            ["--model_name=a", "--backend=vllm", "--minimum_cosine=0.9"],
            ["--minimum_cosine=0.9 is not measured with --backend=vllm: use --backend=huggingface"],
        ),
        (
            ["--model_name=a", "--backend=vllm", "--quantize=int8"],
            ["--quantize=int8 is not supported with --backend=vllm: use --backend=huggingface"],
        ),
        (
            ["--model_name=a", "--backend=huggingface", "--quantize=int8", "--dtype=bfloat16"],
            ["--quantize=int8 and --dtype=bfloat16 exclude each other"],
        ),
        (["--model_name=a", "--quantize=int4"], ["--quantize=int4", "'none' or 'int8'"]),
        (["--model_name=a", "--matryoshka=256;512"], ["--matryoshka=256;512: must be any, or positive whole numbers"]),
        (["--model_name=a", "--matryoshka=0"], ["--matryoshka=0: must be any, or positive"]),
        (["--model_name=a", "--matryoshka="], ["--matryoshka=: must be any, or positive"]),
        (["--model_name=a", "--truncate=left"], ["--truncate=left", "'off', 'start' or 'end'"]),
        (["--model_name=a", "--modle_dir=/x"], ["--modle_dir", "did you mean --model_dir?"]),
        (["--model_name=a", "--wat=1"], ["unknown flag --wat", "--backend"]),
        (["--model_name=a", "x"], ["'x' is not a flag"]),
        (["--model_name=a", "--max_inputs=1", "--max_inputs=2"], ["--max_inputs has 2 values, 1 and 2"]),
        (["--model_name=a", "--model_name="], ["--model_name=", "at least 1 character"]),
        (["--model_name=a", "--model_aliases=b"], ["unknown flag --model_aliases"]),
        (["--model_name=a", "--allowed_origins=[x"], ["--allowed_origins=[x: must be a JSON list of strings"]),
        (
            ["--model_name=a", "--allowed_origins=" + "[" * 100_000],
            ["(100000 characters): must be a JSON list of strings"],
        ),
        (["--model_name=a", "x" * 101], ["... (101 characters)' is not a flag"]),
        (
            ["--model_name=a", "--allow_credentials", "--allowed_origins=*"],
            ["--allow_credentials is not allowed with --allowed_origins=*"],
        ),
        (["--model_name"], ["--model_name requires a value"]),
        (["--model_name=a", "--http_port=70000"], ["--http_port=70000"]),
        (["--model_name=a", "--backend=onnx"], ["--backend=onnx", "vllm"]),
        (
            ["--model_name=a", "--backend=vllm", "--task=text_embedding"],
            ["--task=text_embedding", "--backend=vllm", "--task=embed"],
        ),
        (["--model_name=a", "--backend=huggingface", "--task=embed"], ["use --task=text_embedding"]),
        (["--model_name=a", "--backend=huggingface", "--task=score"], ["use --task=text_ranking"]),
        (["--model_name=a", "--backend=vllm", "--task=text_ranking"], ["--backend=vllm", "use --task=score"]),
        (["--model_name=a", "--max_inputs=0"], ["--max_inputs=0"]),
        (["--model_name=a", "--request_timeout=inf"], ["--request_timeout=inf"]),
        (["--model_name=a", "--allow_pickle=perhaps"], ["--allow_pickle=perhaps"]),
        (
            ["--model_name=a", "--request_timeout=700"],
            ["--request_timeout=700 is more than --max_request_timeout=600: lower the former, or raise the latter"],
        ),
        (["--wat=1", "--max_length=0"], ["--wat", "--max_length=0", "--model_name is required"]),
    ],
)
def test_the_message_for_an_invalid_flag_has_a_remedy(argv: list[str], words: list[str]) -> None:
    with pytest.raises(ContractError) as caught:
        ServeArgs.from_argv(argv)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_boolean_flag_needs_no_value() -> None:
    args = ServeArgs.from_argv(["--trust_remote_code", "--model_name=a", "--allow-pickle"])
    assert (args.trust_remote_code, args.allow_pickle, args.access_log) == (True, True, False)


def test_without_a_task_the_models_files_decide() -> None:
    assert ServeArgs.from_argv(["--model_name=a"]).task is None


def test_default_values_are_not_written() -> None:
    args = ServeArgs.from_argv(["--model_name=a", "--max_inputs=2048", "--max_length=5"])
    assert args.to_argv() == [
        "--model_dir=/mnt/models",
        "--model_name=a",
        "--max_length=5",
        "--host=0.0.0.0",
        "--http_port=8080",
    ]


@pytest.mark.parametrize("written", ["512,256,512", "256, 512", "[256, 512]"])
def test_sizes_are_numbers_with_commas(written: str) -> None:
    assert ServeArgs.from_argv(["--model_name=a", f"--matryoshka={written}"]).matryoshka == (256, 512)


def test_matryoshka_does_not_affect_vectors_but_truncate_does() -> None:
    assert "matryoshka" in CANNOT_MOVE_VECTORS
    assert "truncate" not in CANNOT_MOVE_VECTORS


def test_help_has_every_flag() -> None:
    text = ServeArgs.parser().format_help()
    assert [name for name in ServeArgs.model_fields if f"--{name}" not in text] == ["model_aliases"]


def test_a_model_may_have_several_names_of_which_the_first_is_its_own() -> None:
    args = ServeArgs.from_argv(["--model_name=a", "--model-name=b", "--model_name=a", "--model_name", "c"])
    assert (args.model_name, args.model_aliases) == ("a", ("b", "c"))
    assert args.to_argv()[1:4] == ["--model_name=a", "--model_name=b", "--model_name=c"]


@pytest.mark.parametrize("written", ["https://a,https://b", '["https://a", "https://b"]', "https://a, https://b"])
def test_origins_are_written_with_commas_or_as_json_like_vllms(written: str) -> None:
    args = ServeArgs.from_argv(["--model_name=a", f"--allowed-origins={written}"])
    assert args.allowed_origins == ("https://a", "https://b")


@pytest.mark.parametrize("flag", ["dtype", "quantize"])
def test_a_change_of_precision_makes_a_new_revision(flag: str) -> None:
    assert flag not in CANNOT_MOVE_VECTORS
