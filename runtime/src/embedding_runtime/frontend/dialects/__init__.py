"""The HTTP APIs that are served, a package each: its schema, its routes, its errors and its table of fields."""
