"""All of the operator that touches the world: the API server, the clock, the process."""
