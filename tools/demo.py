"""`make demo`: the guide's service on this machine, and the guide's question to it.

Where the Hugging Face hub cannot be reached, the model comes from a hub on localhost that serves the packaged copy
(the tests' fake hub): same client, same code, another address.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from embedding_operator.cli import local
from support.fake_hub import MINILM, FakeHub, packaged_minilm

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = {"vllm": "examples/embedding-vllm.yaml", "huggingface": "examples/embedding-hf.yaml"}
QUESTION = {"model": "sentence-transformer", "input": "This is an example sentence for embedding generation."}


def main() -> int:
    """Exit code of `embedding-operator local`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=MANIFESTS, default="vllm")
    parser.add_argument("--port", type=int, default=8080)
    args = parser.parse_args()
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    with ExitStack() as stack:
        trouble = _unreachable(hub)
        if trouble:
            os.environ["HF_ENDPOINT"] = stack.enter_context(FakeHub({MINILM: packaged_minilm()})).url
            say(f"{hub} cannot be reached from here ({trouble}).")
            say(f"The packaged {MINILM} is served by {os.environ['HF_ENDPOINT']}, and downloaded from there.")
        return local.main([ROOT / MANIFESTS[args.backend]], port=args.port, when_ready=ask)


def ask(service: Mapping[str, Any]) -> None:
    """The guide's curl, and what it answers."""
    url = f"{service['status']['url']}/openai/v1/embeddings"
    print(f"\ncurl {url} -H 'Content-Type: application/json' \\\n  -d '{json.dumps(QUESTION)}'\n", flush=True)
    request = urllib.request.Request(url, json.dumps(QUESTION).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    vector = answer["data"][0]["embedding"]
    numbers = ", ".join(f"{x:.7f}" for x in vector[:3]) + ", ..., " + ", ".join(f"{x:.7f}" for x in vector[-3:])
    answer["data"][0]["embedding"] = "VECTOR"
    print(json.dumps(answer, indent=2).replace('"VECTOR"', f"[{numbers}]  ({len(vector)} numbers)"))
    print("\nPress Ctrl-C to stop.", flush=True)


def say(words: str) -> None:
    """Progress, apart from the answer."""
    print(f"demo | {words}", file=sys.stderr, flush=True)


def _unreachable(hub: str) -> str | None:
    """Why a hub does not answer; None when it does."""
    try:
        with urllib.request.urlopen(f"{hub}/api/models/{MINILM}", timeout=5):
            return None
    except urllib.error.URLError as error:
        return str(error.reason)
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    raise SystemExit(main())
