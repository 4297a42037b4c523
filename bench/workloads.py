"""The texts, the request bodies and the cells of the benchmark: the same in every run, for every system."""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CELLS", "MAX_TOKENS", "MODEL", "TEXTS", "WORKLOADS", "Cell", "Workload", "workload"]

MODEL = "all-MiniLM-L6-v2"
"""The model name in requests."""

MAX_TOKENS = 256
"""The limit of the model. No text is longer, so no system truncates."""

TEXTS = 512
"""The texts per workload. One pass of sentence-transformers over the longer workload takes about six seconds."""

SEED = 7

WORKLOADS = ("short", "mixed")

_MANY = 64
"""From this many texts in flight, an answer may take seconds."""

_WORDS = """a about after all also an and any as at back be because but by can come could day do even first for from get
give go good have he her him his how i if in into it its just know like look make me most my new no not now of on one
only or other our out over people say see she so some take than that the their them then there these they think this
time to two up us use want way we well what when which who will with work would year you your life long great place
world house water night river letter music garden paper market winter""".split()  # noqa: SIM905 a column of words reads worse


@dataclass(frozen=True)
class Cell:
    """One combination of workload, texts per request and number of clients."""

    workload: str
    batch: int
    clients: int

    def __str__(self) -> str:
        return f"{self.workload}/{self.batch}/{self.clients}"

    @property
    def duration(self) -> int:
        """How long the cell is measured, in units of --seconds: with many texts in flight, answers take longer."""
        return 2 if self.clients * self.batch >= _MANY else 1


CELLS = tuple(itertools.starmap(Cell, itertools.product(WORKLOADS, (1, 32), (1, 8, 64))))
"""All cells in the order of measurement. Those that leave most unfinished work behind come last."""


@dataclass(frozen=True)
class Workload:
    """Texts and their lengths in tokens, including special tokens."""

    name: str
    texts: tuple[str, ...]
    tokens: tuple[int, ...]

    @property
    def tokens_a_text(self) -> float:
        return sum(self.tokens) / len(self.tokens)

    def bodies(self, batch: int) -> list[str]:
        """Bodies of `batch` texts each, as one line of JSON, without encoding_format like a client without options."""
        starts = range(0, len(self.texts), batch)
        return [json.dumps({"model": MODEL, "input": self.texts[start : start + batch]}) for start in starts]

    def body_tokens(self, batch: int) -> list[int]:
        """The tokens of each of those bodies."""
        return [sum(self.tokens[start : start + batch]) for start in range(0, len(self.tokens), batch)]

    def write(self, directory: Path, batch: int) -> Path:
        """Writes the bodies to a file, one per line."""
        path = directory / f"{self.name}-{batch}.jsonl"
        path.write_text("".join(f"{body}\n" for body in self.bodies(batch)))
        return path


def workload(name: str, count_tokens: Callable[[Sequence[str]], Sequence[int]]) -> Workload:
    """short: 15 words. mixed: log-normal, 4 to 250 words. Raises ValueError for a text longer than MAX_TOKENS."""
    dice = random.Random(SEED)  # noqa: S311 texts, not secrets
    sizes = [15 if name == "short" else _mixed_words(dice) for _ in range(TEXTS)]
    texts = tuple(" ".join(dice.choices(_WORDS, k=size)) for size in sizes)
    tokens = tuple(count_tokens(texts))
    if max(tokens) > MAX_TOKENS:
        raise ValueError(f"workload {name}: a text has {max(tokens)} tokens, the limit is {MAX_TOKENS}: shorten it")
    return Workload(name, texts, tokens)


def _mixed_words(dice: random.Random) -> int:
    return min(250, max(4, int(dice.lognormvariate(3.6, 0.9))))
