"""Open Inference, V1 and V2, in JSON and with binary tensors."""

import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest

from support.runtime_server import NAME, RuntimeServer

INFER = f"/v2/models/{NAME}/infer"


def a_tensor(*texts: str, shape: list[int] | None = None, **fields: object) -> dict[str, Any]:
    return {"name": "text", "shape": shape or [len(texts)], "datatype": "BYTES", "data": list(texts), **fields}


def test_v1_predicts_a_vector_per_instance(fake_server: RuntimeServer) -> None:
    found = fake_server.post(f"/v1/models/{NAME}:predict", instances=["a", "b"]).json()
    assert np.array(found["predictions"]).shape == (2, 384)


def test_v2_infers_one_tensor_of_vectors(fake_server: RuntimeServer) -> None:
    answer = fake_server.post(INFER, id="7", inputs=[a_tensor("a", "b")]).json()
    (output,) = answer["outputs"]
    assert (answer["model_name"], answer["id"]) == (NAME, "7")
    assert (output["name"], output["datatype"], output["shape"]) == ("embedding", "FP32", [2, 384])
    by_v1 = fake_server.post(f"/v1/models/{NAME}:predict", instances=["a", "b"]).json()["predictions"]
    assert np.array_equal(np.reshape(output["data"], (2, 384)), by_v1)


def test_v2_describes_server_and_model(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        assert http.get("/v2").json()["name"] == "embedding-runtime"
        assert http.get("/v2/health/live").json() == {"live": True}
        assert http.get("/v2/health/ready").json() == {"ready": True}
        assert http.get(f"/v2/models/{NAME}/ready").json() == {"ready": True}
        model = http.get(f"/v2/models/{NAME}").json()
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert model["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 384]}]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([a_tensor("a", shape=[2])], "the shape [2] means 2 texts, but data has 1"),
        ([a_tensor("a", datatype="INT32")], "inputs[0].datatype: Input should be 'BYTES'"),
        ([a_tensor("a", parameters={"content_type": "base64"})], "inputs[0].parameters.content_type: Input should be"),
        ([a_tensor("a"), a_tensor("b")], "inputs: List should have at most 1 item"),
        ([{"name": "t", "shape": [1], "datatype": "BYTES", "data": [3]}], "inputs[0].data: must be a list"),
    ],
)
def test_errors_have_v2s_format(fake_server: RuntimeServer, inputs: list[Any], words: str) -> None:
    answer = fake_server.post(INFER, inputs=inputs)
    assert answer.status_code == 400
    (message,) = answer.json().values()
    assert words in message


def binary(*texts: str) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


def infer_binary(server: RuntimeServer, rest: bytes, *, length: int | None = None, **fields: Any) -> httpx.Response:
    """A request whose tensor follows its JSON, as Triton's client sends it; `length`: another than the JSON's own."""
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(rest)}}
    head = json.dumps({"inputs": [{**tensor, **fields.pop("tensor", {})}], **fields}).encode()
    with server.http() as http:
        return http.post(
            INFER,
            content=head + rest,
            headers={"Inference-Header-Content-Length": str(len(head) if length is None else length)},
        )


@pytest.mark.parametrize(
    "rest",
    [
        struct.pack("<f", float("nan")),
        struct.pack("<2f", float("inf"), 1.0),
        b"\x05",
        b"\x05\0\0\0abc",
        b"\xff\xff\xff\xffa",
        binary("a")[:-1],
        binary("a") + b"\0\0",
        b"\x01\0\0\0\xff",
        binary("a"),
        binary("a", "b", "c"),
    ],
    ids=["nan", "inf", "one-byte", "short", "overlong", "cut", "rest", "no-utf-8", "too-few", "too-many"],
)
def test_other_bytes_than_two_texts_are_rejected(fake_server: RuntimeServer, rest: bytes) -> None:
    assert infer_binary(fake_server, rest).status_code == 400


def test_binary_tensors_are_accepted_and_returned(fake_server: RuntimeServer) -> None:
    rows = np.reshape(fake_server.post(INFER, inputs=[a_tensor("a", "ü")]).json()["outputs"][0]["data"], (2, 384))
    answer = infer_binary(fake_server, binary("a", "ü"), parameters={"binary_data_output": True})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    length = int(answer.headers["Inference-Header-Content-Length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert (output["shape"], output["parameters"]) == ([2, 384], {"binary_data_size": 2 * 384 * 4})
    assert np.array_equal(np.frombuffer(answer.content[length:], "<f4").reshape(2, 384), rows.astype(np.float32))


def test_binary_data_of_an_output_overrides_the_default(fake_server: RuntimeServer) -> None:
    outputs = [{"name": "embedding", "parameters": {"binary_data": False}}]
    answer = infer_binary(fake_server, binary("a", "b"), outputs=outputs, parameters={"binary_data_output": True})
    assert len(answer.json()["outputs"][0]["data"]) == 2 * 384


@pytest.mark.parametrize(
    ("rest", "fields", "words"),
    [
        (binary("a"), {}, "the shape [2] means 2 texts, but data has 1"),
        (binary("a", "b")[:-1], {}, "text 1 is longer than the rest of the binary data"),
        (struct.pack("<I", 1) + b"\xff", {}, "text 0 of the binary data is not UTF-8"),
        (b"", {"tensor": {"parameters": {"binary_data_size": 9}}}, "binary_data_size is 9, but 0 bytes follow"),
        (b"x", {"tensor": {"data": ["a", "b"], "parameters": None}}, "binary_data_size is 0, but 1 bytes follow"),
        (binary("a", "b"), {"tensor": {"data": ["a", "b"]}}, "exactly one of data and parameters.binary_data_size"),
        (b"", {"length": 10**9}, "Inference-Header-Content-Length must be the size"),
    ],
)
def test_binary_tensors_that_do_not_fit_are_refused(
    fake_server: RuntimeServer, rest: bytes, fields: dict[str, Any], words: str
) -> None:
    answer = infer_binary(fake_server, rest, **fields)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_the_only_version_of_a_model_can_be_requested(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        assert http.get(f"/v2/models/{NAME}/versions/1").json()["versions"] == ["1"]
        assert http.get(f"/v2/models/{NAME}/versions/1/ready").json() == {"ready": True}
        assert http.get(f"/v2/models/{NAME}/versions/2/ready").status_code == 404
        answer = http.post(f"/v2/models/{NAME}/versions/1/infer", json={"inputs": [a_tensor("a")]})
    assert (answer.json()["model_name"], answer.json()["model_version"]) == (NAME, "1")


def test_v1s_readiness_is_at_openais_path_of_the_model(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        model = http.get(f"/v1/models/{NAME}").json()
        assert http.get("/v1/models").json()["models"] == [NAME]
    assert (model["name"], model["ready"], model["id"], model["object"]) == (NAME, True, NAME, "model")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/other:predict", {"instances": ["a"]}),
        ("/v2/models/other/infer", {"inputs": [a_tensor("a")]}),
    ],
)
def test_another_model_is_not_found(fake_server: RuntimeServer, path: str, body: dict[str, Any]) -> None:
    answer = fake_server.post(path, **body)
    assert (answer.status_code, NAME in answer.json()["error"]) == (404, True)


@pytest.mark.parametrize(
    "fields",
    [
        {"parameters": {"binary_data_output": False}},
        {"outputs": [{"name": "embedding", "parameters": {"binary_data": False}}]},
        {"parameters": {"content_type": "str"}, "inputs": [a_tensor("a", parameters={"content_type": "str"})]},
    ],
)
def test_default_parameters_of_clients_are_accepted(fake_server: RuntimeServer, fields: dict[str, Any]) -> None:
    answer = fake_server.post(INFER, **{"inputs": [a_tensor("a")], **fields})
    assert (answer.status_code, answer.json()["outputs"][0]["shape"]) == (200, [1, 384])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"parameters": {"timeout": 1}},
            "parameters: unknown field timeout; valid fields: content_type, binary_data_output",
        ),
        ({"inputs": [a_tensor("a", parameters={"truncate": 1})]}, "inputs[0].parameters: unknown field truncate"),
        ({"inputs": [a_tensor("a", dtype="BYTES")]}, "inputs[0]: unknown field dtype"),
        ({"outputs": [{"name": "embedding", "datatype": "FP16"}]}, "outputs[0]: unknown field datatype"),
        (
            {"outputs": [{"name": "embedding", "parameters": {"classification": 1}}]},
            "outputs[0].parameters: unknown field classification",
        ),
        ({"outputs": [{"name": "score"}]}, "outputs: unknown output; the only output of this model is embedding"),
    ],
)
def test_unsupported_parameters_are_rejected(fake_server: RuntimeServer, fields: dict[str, Any], words: str) -> None:
    answer = fake_server.post(INFER, **{"inputs": [a_tensor("a")], **fields})
    assert answer.status_code == 400
    assert words in answer.json()["error"]
