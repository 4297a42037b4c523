"""What a server tells of itself: metrics, traces, log lines, and the context of the request that they belong to."""
