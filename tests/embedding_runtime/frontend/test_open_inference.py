"""Open Inference, V1 and V2, in JSON."""

from typing import Any

import numpy as np
import pytest

from support.runtime_server import NAME, RuntimeServer

INFER = f"/v2/models/{NAME}/infer"


def a_tensor(*texts: str, shape: list[int] | None = None, **fields: object) -> dict[str, Any]:
    return {"name": "text", "shape": shape or [len(texts)], "datatype": "BYTES", "data": list(texts), **fields}


def test_v1_predicts_a_vector_an_instance(fake_server: RuntimeServer) -> None:
    found = fake_server.post(f"/v1/models/{NAME}:predict", instances=["a", "b"]).json()
    assert np.array(found["predictions"]).shape == (2, 384)


def test_v2_infers_one_tensor_of_vectors(fake_server: RuntimeServer) -> None:
    answer = fake_server.post(INFER, id="7", inputs=[a_tensor("a", "b")]).json()
    (output,) = answer["outputs"]
    assert (answer["model_name"], answer["id"]) == (NAME, "7")
    assert (output["name"], output["datatype"], output["shape"]) == ("embedding", "FP32", [2, 384])
    by_v1 = fake_server.post(f"/v1/models/{NAME}:predict", instances=["a", "b"]).json()["predictions"]
    assert np.array_equal(np.reshape(output["data"], (2, 384)), by_v1)


def test_v2_tells_server_and_model(fake_server: RuntimeServer) -> None:
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
        ([a_tensor("a", shape=[2])], "the shape [2] has room for 2 texts, data has 1"),
        ([a_tensor("a", datatype="INT32")], "inputs[0].datatype: Input should be 'BYTES'"),
        ([a_tensor("a", parameters={"content_type": "base64"})], "inputs[0].parameters.content_type: Input should be"),
        ([a_tensor("a"), a_tensor("b")], "inputs: List should have at most 1 item"),
        ([{"name": "t", "shape": [1], "datatype": "BYTES", "data": [3]}], "inputs[0].data: it has to be a list"),
    ],
)
def test_errors_are_told_as_v2_tells_them(fake_server: RuntimeServer, inputs: list[Any], words: str) -> None:
    answer = fake_server.post(INFER, inputs=inputs)
    assert answer.status_code == 400
    (message,) = answer.json().values()
    assert words in message


def test_the_binary_extension_is_refused_in_words(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        answer = http.post(INFER, content=b'{"inputs": []}....', headers={"Inference-Header-Content-Length": "14"})
    assert answer.status_code == 400
    assert "binary" in answer.json()["error"]


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
        {"parameters": {"binary_data_output": True}},  # Triton's client, of its own accord: it reads JSON as well
        {"outputs": [{"name": "embedding", "parameters": {"binary_data": True}}]},
        {"parameters": {"content_type": "str"}, "inputs": [a_tensor("a", parameters={"content_type": "str"})]},
    ],
)
def test_what_other_servers_clients_say_unasked_is_known(fake_server: RuntimeServer, fields: dict[str, Any]) -> None:
    answer = fake_server.post(INFER, **{"inputs": [a_tensor("a")], **fields})
    assert (answer.status_code, answer.json()["outputs"][0]["shape"]) == (200, [1, 384])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"parameters": {"timeout": 1}}, "parameters: only content_type and binary_data_output may be here"),
        ({"inputs": [a_tensor("a", parameters={"truncate": 1})]}, "inputs[0].parameters: only content_type may be"),
        (
            {"outputs": [{"name": "embedding", "parameters": {"classification": 1}}]},
            "outputs[0].parameters: only binary",
        ),
        ({"outputs": [{"name": "score"}]}, "outputs: this model has one, embedding"),
    ],
)
def test_what_nobody_would_obey_is_refused(fake_server: RuntimeServer, fields: dict[str, Any], words: str) -> None:
    answer = fake_server.post(INFER, **{"inputs": [a_tensor("a")], **fields})
    assert answer.status_code == 400
    assert words in answer.json()["error"]
