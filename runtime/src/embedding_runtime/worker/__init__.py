"""The process that computes vectors: one backend on its share of the machine."""
