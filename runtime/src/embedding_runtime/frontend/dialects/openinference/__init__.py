"""The Open Inference Protocol, V1 and V2, as KServe speaks it."""
