"""What can be wrong with a service, one module a concern.

A check takes what it checks, returns every problem it finds, and never raises.
"""

__all__: list[str] = []
