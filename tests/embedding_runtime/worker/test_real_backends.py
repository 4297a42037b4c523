"""Both real backends over HTTP, compared with sentence-transformers, in different batches."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import support.reference_vectors
from embedding_runtime.contract import BackendName
from support.models import GOLDEN_ENDS, GOLDEN_TEXT, packaged_minilm
from support.runtime_server import NAME, RuntimeServer

pytestmark = pytest.mark.model

BACKENDS = (BackendName.VLLM, BackendName.HUGGINGFACE)

TWO_CORES = {BackendName.HUGGINGFACE: {"OMP_NUM_THREADS": "2"}}
"""On any machine: with two it computes two batches at once."""

TEXTS = [
    GOLDEN_TEXT,
    "",
    "a",
    "Upper CASE, Ünïcödé, 你好, 🙂 and a_very-long/word" + "o" * 80,
    "the quick brown fox " * 10,
    "the quick brown fox " * 40,
    "one " * 254,  # 256 tokens: the longest that the model takes
    *(f"sentence number {n}, " * (n + 1) for n in range(12)),
]


MOST_FAULTS = 20_000
"""80 MB, for sixteen requests; of a worker that gives its memory back after every batch it was 248,000."""

TOO_LONG = "many words " * 200


@dataclass(frozen=True)
class Reference:
    vectors: npt.NDArray[np.float64]
    too_long: npt.NDArray[np.float64]
    tokens: list[int]


@dataclass(frozen=True)
class Started:
    """Everything slow, started at once: most of it is imports, each on one core."""

    servers: Mapping[BackendName, RuntimeServer]
    reference: subprocess.Popen[str]


@pytest.fixture(scope="session")
def started() -> Iterator[Started]:
    program = [sys.executable, str(support.reference_vectors.__file__), str(packaged_minilm())]
    with ExitStack() as stack:
        reference = stack.enter_context(
            subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        assert reference.stdin is not None
        with reference.stdin as texts:
            json.dump([*TEXTS, TOO_LONG], texts)
        yield Started(
            {name: stack.enter_context(RuntimeServer(name, env=TWO_CORES.get(name))) for name in BACKENDS}, reference
        )


@pytest.fixture(scope="session")
def reference(started: Started) -> Reference:
    assert started.reference.stdout is not None
    said = json.load(started.reference.stdout)
    vectors = np.array(said["vectors"])
    return Reference(vectors[:-1], vectors[-1:], said["tokens"][:-1])


@pytest.fixture(scope="session", params=BACKENDS)
def server(request: pytest.FixtureRequest, started: Started) -> RuntimeServer:
    return started.servers[request.param].ready()


def cosines(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / norms)


def vectors(server: RuntimeServer, texts: list[str]) -> npt.NDArray[np.float64]:
    answer = server.client().embeddings.create(model=NAME, input=texts)
    return np.array([item.embedding for item in answer.data])


def test_the_guides_sentence_gets_the_guides_vector(server: RuntimeServer) -> None:
    answer = server.embeddings(input=GOLDEN_TEXT).json()
    vector = answer["data"][0]["embedding"]
    assert len(vector) == 384
    assert vector[:3] + vector[-3:] == pytest.approx(GOLDEN_ENDS, abs=1e-5)
    assert answer["usage"]["prompt_tokens"] == 13


def test_batches_have_the_vectors_of_sentence_transformers(server: RuntimeServer, reference: Reference) -> None:
    assert cosines(vectors(server, TEXTS), reference.vectors).min() >= 0.9999


def test_single_texts_have_the_vectors_of_sentence_transformers(server: RuntimeServer, reference: Reference) -> None:
    alone = np.concatenate([vectors(server, [text]) for text in TEXTS])
    assert cosines(alone, reference.vectors).min() >= 0.9999
    assert np.abs(alone - reference.vectors).max() < 1e-4  # lengths, too, not only directions


def test_a_long_text_is_truncated_as_in_sentence_transformers(server: RuntimeServer, reference: Reference) -> None:
    answer = server.embeddings(input=TOO_LONG, truncate=True).json()
    assert cosines(np.array([answer["data"][0]["embedding"]]), reference.too_long).min() >= 0.9999
    assert answer["usage"]["prompt_tokens"] == 256


def test_vectors_are_the_same_at_any_concurrency(server: RuntimeServer, reference: Reference) -> None:
    random = np.random.default_rng(7)
    requests = [random.integers(len(TEXTS), size=size) for size in random.integers(1, 9, size=64)]
    with ThreadPoolExecutor(32) as clients:
        answers = list(clients.map(lambda places: vectors(server, [TEXTS[place] for place in places]), requests))
    wanted = reference.vectors[np.concatenate(requests)]
    assert cosines(np.concatenate(answers), wanted).min() >= 0.9999


def test_tokens_are_counted_as_sentence_transformers_counts_them(server: RuntimeServer, reference: Reference) -> None:
    client = server.client()
    counts = [client.embeddings.create(model=NAME, input=text).usage.prompt_tokens for text in TEXTS]
    assert counts == reference.tokens


def test_the_requested_backend_is_used(server: RuntimeServer) -> None:
    (model,) = server.client().models.list().data
    assert f"--backend={model.model_dump()['backend']}" in server.process.args  # type: ignore[operator] # a list


def test_no_batch_of_minilm_is_padded(server: RuntimeServer) -> None:
    vectors(server, TEXTS)
    assert server.metric("embedding_padding_tokens_total") == 0


def load(server: RuntimeServer) -> None:
    """Eight clients, some thousand tokens each."""
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda _: vectors(server, TEXTS), range(16)))


def test_under_load_huggingface_computes_two_batches_at_once(server: RuntimeServer) -> None:
    load(server)
    halves = server.metric("embedding_half_batches_total")
    assert halves is not None
    assert (halves > 0) == ("--backend=huggingface" in server.process.args)  # type: ignore[operator] # a list


def test_a_warm_worker_keeps_its_memory_from_batch_to_batch(server: RuntimeServer) -> None:
    load(server)
    rounds: list[int] = []
    while len(rounds) < 8 and not (rounds and rounds[-1] < MOST_FAULTS):  # a cold one may come late on a busy machine
        before = page_faults(server.worker)
        load(server)
        rounds.append(page_faults(server.worker) - before)
    assert rounds[-1] < MOST_FAULTS, rounds


def page_faults(pid: int) -> int:
    """Pages that the system has given a process, zeroed, so far."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])
