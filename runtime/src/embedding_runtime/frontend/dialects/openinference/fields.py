"""Fields that Open Inference's paths ignore or reject."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import IGNORED

__all__ = ["IGNORED", "IN_INFER", "IN_PREDICT"]

IN_PREDICT: Mapping[str, str] = {
    "inputs": "use instances",
    "parameters": "Open Inference V1 has no parameters: use POST /v1/embeddings for dimensions, truncate and others",
}

IN_INFER: Mapping[str, str] = {
    "instances": "use inputs, or POST /v1/models/NAME:predict",
    "raw_input_contents": "this is a gRPC field: over HTTP, send the tensor after the JSON and set binary_data_size",
    "raw_output_contents": "this is a gRPC field: over HTTP, set binary_data in the parameters of an output",
}
