"""Pages for people: the playground and the documentation of the API."""
