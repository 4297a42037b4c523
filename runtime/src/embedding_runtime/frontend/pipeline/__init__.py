"""A request to its answer: body, options, token ids, vectors, JSON."""
