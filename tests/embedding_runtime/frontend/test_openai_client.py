"""The real openai client against a real server."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest

from support.models import GOLDEN_TEXT
from support.runtime_server import NAME, RuntimeServer


@pytest.mark.parametrize("prefix", ["/openai/v1", "/v1"])
def test_a_text_gets_a_vector_under_either_path(fake_server: RuntimeServer, prefix: str) -> None:
    answer = fake_server.client(prefix=prefix).embeddings.create(model=NAME, input=GOLDEN_TEXT)
    assert len(answer.data[0].embedding) == 384
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (13, 13)


def test_several_texts_come_back_in_order(fake_server: RuntimeServer) -> None:
    texts = [f"text {n} " * (n + 1) for n in range(40)]
    client = fake_server.client()
    together = client.embeddings.create(model=NAME, input=texts)
    assert [item.index for item in together.data] == list(range(40))
    for n in (0, 17, 39):
        alone = client.embeddings.create(model=NAME, input=texts[n])
        assert alone.data[0].embedding == together.data[n].embedding


def test_floats_and_base64_are_the_same_numbers(fake_server: RuntimeServer) -> None:
    client = fake_server.client()
    floats = client.embeddings.create(model=NAME, input="a", encoding_format="float").data[0].embedding
    decoded = client.embeddings.create(model=NAME, input="a").data[0].embedding  # the client asks for base64
    assert np.array_equal(np.array(floats, dtype=np.float32), np.array(decoded, dtype=np.float32))


def test_base64_is_returned_on_request(fake_server: RuntimeServer) -> None:
    answer = fake_server.client().embeddings.create(model=NAME, input="a", encoding_format="base64")
    assert isinstance(answer.data[0].embedding, str)


def test_token_ids_stand_for_their_text(fake_server: RuntimeServer) -> None:
    client = fake_server.client()
    by_text, ids = client.embeddings.create(model=NAME, input="hello"), [101, 7592, 102]
    assert client.embeddings.create(model=NAME, input=ids).data[0].embedding == by_text.data[0].embedding
    several = client.embeddings.create(model=NAME, input=[ids, [101, 102]])
    assert several.data[0].embedding == by_text.data[0].embedding
    assert several.usage.prompt_tokens == 5


def test_concurrent_requests_get_their_own_vectors(fake_server: RuntimeServer) -> None:
    client = fake_server.client()
    texts = [f"sentence {n} " * (n % 7 + 1) for n in range(60)]
    alone = {text: client.embeddings.create(model=NAME, input=text).data[0].embedding for text in texts}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: client.embeddings.create(model=NAME, input=text), texts))
    assert [answer.data[0].embedding for answer in answers] == [alone[text] for text in texts]


def test_optional_fields_may_be_null_the_native_size_may_be_named(fake_server: RuntimeServer) -> None:
    answer = fake_server.embeddings(input="a", encoding_format=None, dimensions=None, user=None)
    assert answer.status_code == 200
    assert fake_server.client().embeddings.create(model=NAME, input="a", dimensions=384, user="u").data


def test_the_answer_has_the_fields_of_the_guide(fake_server: RuntimeServer) -> None:
    answer = fake_server.embeddings(input=GOLDEN_TEXT).json()
    assert {**answer, "id": answer["id"][:5], "created": 0, "data": len(answer["data"])} == {
        "id": "embd-",
        "object": "list",
        "created": 0,
        "data": 1,
        "model": NAME,
        "usage": {"prompt_tokens": 13, "total_tokens": 13, "completion_tokens": 0, "prompt_tokens_details": None},
    }
    assert {**answer["data"][0], "embedding": None} == {"object": "embedding", "embedding": None, "index": 0}


def test_the_model_list_describes_the_vectors(fake_server: RuntimeServer) -> None:
    (model,) = fake_server.client().models.list().data
    said = model.model_dump(exclude={"created", "space"}, exclude_none=True)
    assert said == {
        "id": NAME,
        "object": "model",
        "owned_by": "embedding-runtime",
        "name": NAME,
        "ready": True,
        "backend": "fake",
        "backend_reason": "--backend=fake is set",
        "dimensions": 384,
        "max_length": 256,
        "sizes": [],
        "sizes_source": "",
        "truncate": "off",
        "kind": "embedding model",
        "outputs": ["dense"],
        "pooling": "mean",
        "normalized": True,
        "similarity": "cosine",
        "prompt": "",
        "prompts": {},
        "assumed": [],
        "dtype": "float32",
        "precision": {"dtype": "float32", "quantization": "none", "cosine": None},
    }


def test_the_model_is_found_by_its_name(fake_server: RuntimeServer) -> None:
    client = fake_server.client()
    assert client.models.retrieve(NAME) == client.models.list().data[0]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt")


def test_another_model_is_not_found(fake_server: RuntimeServer) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        fake_server.client().embeddings.create(model="gpt", input="a")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert NAME in caught.value.message


def test_the_longest_input_is_accepted_and_one_more_token_is_rejected(fake_server: RuntimeServer) -> None:
    client = fake_server.client()
    assert client.embeddings.create(model=NAME, input="one " * 254).usage.prompt_tokens == 256
    with pytest.raises(openai.BadRequestError, match=r"input\[1\] has 257 tokens; the model's maximum is 256"):
        client.embeddings.create(model=NAME, input=["fits", "one " * 255])
