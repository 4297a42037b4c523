"""The resources: pydantic models, and the CRDs made of them."""

__all__: list[str] = []
