"""Amazon SageMaker's container contract: /ping and /invocations."""
