"""HTML pages: the playground and the documentation of the API."""
