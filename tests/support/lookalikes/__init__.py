"""Look-alikes of popular models: real classes, module chains and kinds of tokenizer, tiny sizes, random weights.

`table` has a row a model, `files` makes one, `answers` asks a backend about many, and `tools/models_page.py` compares.
"""

__all__: list[str] = []
