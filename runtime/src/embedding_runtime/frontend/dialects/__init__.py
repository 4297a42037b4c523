"""The HTTP APIs, one package each: schema, routes, error format and tables of ignored and rejected fields."""
