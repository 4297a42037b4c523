"""`python -m embedding_runtime check DIR`: whether a model can be served, how, how fast, and how exactly.

It loads the model as a worker does, and compares a few texts with sentence-transformers, which runs in another process.
"""

import argparse
import json
import math
import operator
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from embedding_runtime.contract import FRONTEND_BYTES, BackendName, ContractError, Kind, ServeArgs, report
from embedding_runtime.launch import keeping_memory
from embedding_runtime.machine import WorkerShare, detect
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.observability import logs
from embedding_runtime.worker.backends.choice import Choice, choose

__all__ = ["check", "compare"]

MINIMUM_COSINE = 0.9999
"""Lowest acceptable cosine similarity to sentence-transformers in float32. --dtype and --quantize accept less."""

MAXIMUM_DIFFERENCE = 1e-3
"""Largest acceptable difference of scores from those of sentence-transformers."""

EXAMPLES = """
examples:
  python -m embedding_runtime check ./all-MiniLM-L6-v2
  python -m embedding_runtime check ./all-MiniLM-L6-v2 --backend=huggingface --quantize=int8
  python -m embedding_runtime check ./all-MiniLM-L6-v2 -o json

Exit code: 0 if the model can be served and has the vectors of sentence-transformers, 1 if not, 2 if a flag is invalid.
"""


def check(flags: Sequence[str]) -> int:
    """Run the command and return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m embedding_runtime check",
        description="Check whether a model can be served: load it with the flags of `serve`, measure a full batch, and "
        "compare its vectors with those of sentence-transformers. Takes seconds to minutes; opens no port.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="directory of the model")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="output format")
    given, others = parser.parse_known_args(flags)
    name = given.directory.resolve().name or "model"  # "." has no name, and neither has the root directory
    try:
        args = ServeArgs.from_argv([f"--model_name={name}", *others, f"--model_dir={given.directory}"])
    except ContractError as error:
        for problem in error.problems:
            sys.stderr.write(f"embedding_runtime check: {problem}\n")
        return 2
    logs.configure(args.log_format, sees_texts=False)
    found = _checked(args)
    sys.stdout.write((json.dumps(found, indent=1) if given.output == "json" else report(found)) + "\n")
    return 0 if found["served"] else 1


def _checked(args: ServeArgs) -> dict[str, Any]:
    """The answers to the user's questions, in the order of the table."""
    try:
        spec = ModelSpec.from_args(args)
        choice = choose(args, spec)
    except ModelRefused as refused:
        return {"served": False, "why_not": str(refused)}
    with tempfile.TemporaryDirectory(prefix="embedding-runtime-") as scratch:
        tried = _try(args, choice, scratch)
        if "refused" in tried and choice.falls_back:
            choice = Choice(BackendName.HUGGINGFACE, tried["refused"])
            tried = _try(args, choice, scratch)
    about = {
        "kind": spec.kind,
        "dimensions": spec.dimensions,
        "max_tokens": spec.max_length,
        "pooling": spec.pooling_name or None,
        "normalized": spec.normalized if spec.kind is Kind.EMBEDDING_MODEL else None,
        "assumed": list(spec.assumed),
        "backend": choice.backend,
        "backend_reason": choice.reason,
    }
    if "refused" in tried:
        return {"served": False, "why_not": tried["refused"], **about}
    measured = {
        "detail": tried["detail"],
        "tokens_per_second": round(tried["tokens_per_second"]),
        "batch_tokens": tried["batch_tokens"],
        "memory_bytes": tried["peak_bytes"] + FRONTEND_BYTES,
    }
    compared = compare(spec, tried["rows"], _run(args, "reference", {"TQDM_DISABLE": "1"}))
    return {"served": compared.pop("exact"), **compared, **about, **measured}


def compare(spec: ModelSpec, rows: Mapping[str, Sequence[float]], reference: Mapping[str, Any]) -> dict[str, Any]:
    """Compare with sentence-transformers; `exact` is whether the model may be served."""
    if "refused" in reference:
        return {"exact": True, "not_compared": f"sentence-transformers cannot load it: {reference['refused']}"}
    pairs = [(row, reference["rows"][int(place)]) for place, row in rows.items()]
    library = f"sentence-transformers {reference['version']}"
    if spec.kind is Kind.CROSS_ENCODER:
        differs = max(abs(ours - theirs) for pair in pairs for ours, theirs in zip(*pair, strict=True))
        exact = differs <= MAXIMUM_DIFFERENCE
        found = {"reference": library, "largest_difference": differs}
    else:
        cosine = min(_cosine(ours, theirs) for ours, theirs in pairs)
        exact = cosine >= MINIMUM_COSINE
        found = {"reference": library, "lowest_cosine": cosine}
    if exact or spec.is_reduced:
        return {"exact": True, **found}
    return {"exact": False, "why_not": f"the results differ from those of {library}: please report this", **found}


def _cosine(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The cosine similarity; 1 for two zero vectors, which a sparse encoder may return."""
    lengths = math.hypot(*ours) * math.hypot(*theirs)
    return sum(map(operator.mul, ours, theirs)) / lengths if lengths else float(list(ours) == list(theirs))


def _try(args: ServeArgs, choice: Choice, scratch: str) -> Mapping[str, Any]:
    cores = WorkerShare(detect().usable)
    share = {**asdict(cores), "niceness": 0, "choice": asdict(replace(choice, falls_back=False)), "scratch": scratch}
    return _run(args, json.dumps(share), cores.environment)


def _run(args: ServeArgs, what: str, environment: Mapping[str, str]) -> Mapping[str, Any]:
    """Run `worker.trial`, and return its results."""
    read, write = os.pipe()
    with os.fdopen(read) as results:
        trial = subprocess.Popen(  # noqa: S603 our own interpreter and module
            [sys.executable, "-m", "embedding_runtime.worker.trial", str(write), what, *args.to_argv()],
            env={**keeping_memory(), **environment},
            pass_fds=[write],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),  # libraries print to stdout
        )
        os.close(write)
        found = results.read()
        code = trial.wait()
    if not found:
        return {"refused": f"the process ended with exit code {code}, most likely for lack of memory"}
    answer: Mapping[str, Any] = json.loads(found)
    return answer
