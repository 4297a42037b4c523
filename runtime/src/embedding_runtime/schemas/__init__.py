"""The bodies of requests and answers, a module an API. Those of answers are for the documentation: what is sent is
written straight from the vectors, in `api`.
"""

__all__: list[str] = []
