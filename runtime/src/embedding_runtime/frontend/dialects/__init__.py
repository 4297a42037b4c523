"""The APIs that are spoken: for each its schema, its routes and its errors."""
