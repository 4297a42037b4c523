"""Metrics, traces and logs of a server, and the context of the request that they belong to."""
