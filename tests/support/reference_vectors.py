"""sentence-transformers itself, as a program: `python reference_vectors.py MODEL_DIR`, texts as JSON on stdin.

Prints {"vectors": [...], "tokens": [...]} in the order of the texts. A process of its own, so that its imports neither
slow the tests' start nor bring their warnings along.
"""

import json
import sys

from sentence_transformers import SentenceTransformer

__all__: list[str] = []

if __name__ == "__main__":
    model = SentenceTransformer(sys.argv[1], device="cpu")
    texts = json.load(sys.stdin)
    vectors = [model.encode(text, show_progress_bar=False).tolist() for text in texts]
    tokens = [len(model.tokenizer(text, truncation=True)["input_ids"]) for text in texts]
    sys.stdout.write(json.dumps({"vectors": vectors, "tokens": tokens}))
