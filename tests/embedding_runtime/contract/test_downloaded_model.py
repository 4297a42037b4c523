import pytest

from embedding_runtime.contract import DownloadedModel, ServeArgs, least_memory

MIB = 1 << 20


@pytest.mark.parametrize(
    "downloaded",
    [
        DownloadedModel(weights_bytes=0),
        DownloadedModel(weights_bytes=90868376, revision="c9745ed1"),
        DownloadedModel(weights_bytes=1, revision="c9745ed1", code={"owner/code": "f1e2"}),
    ],
)
def test_a_report_is_read_as_it_was_written(downloaded: DownloadedModel) -> None:
    assert DownloadedModel.from_message(f"{downloaded}\n") == downloaded


def test_fields_of_a_newer_initializer_are_ignored() -> None:
    text = '{"weights_bytes": 7, "seconds": 3.5}'
    assert DownloadedModel.from_message(text) == DownloadedModel(weights_bytes=7)


@pytest.mark.parametrize(
    "text", ["", "downloaded", "{}", "[1]", '{"weights_bytes": null}', '{"weights_bytes": 1, "code": 2}']
)
def test_another_text_is_no_report(text: str) -> None:
    assert DownloadedModel.from_message(text) is None


@pytest.mark.parametrize(
    ("flags", "mebibytes"),
    [
        ([], 1500),
        (["--backend=vllm", "--dtype=float32"], 1500),
        (["--dtype=bfloat16"], 1300),
        (["--backend=huggingface", "--quantize=int8"], 1200),
        (["--backend=fake"], None),
    ],
)
def test_memory_is_that_of_weights_as_the_flags_have_them_of_a_worker_and_of_a_frontend(
    flags: list[str], mebibytes: int | None
) -> None:
    args = ServeArgs.from_argv(["--model_name=m", *flags])
    assert least_memory(args, 400 * MIB) == (mebibytes and mebibytes * MIB)
