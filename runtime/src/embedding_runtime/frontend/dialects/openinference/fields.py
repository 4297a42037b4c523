"""Fields of other servers' requests at Open Inference's paths."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import IGNORED

__all__ = ["IGNORED", "IN_INFER", "IN_PREDICT"]

IN_PREDICT: Mapping[str, str] = {
    "inputs": "use instances",
    "parameters": "Open Inference V1 has none here: POST /v1/embeddings has dimensions, truncate and others",
}

IN_INFER: Mapping[str, str] = {
    "instances": "use inputs, or POST /v1/models/NAME:predict",
    "raw_input_contents": "it is gRPC's; here binary tensors follow the JSON, with binary_data_size",
    "raw_output_contents": "it is gRPC's; ask for binary_data in the parameters of an output",
}
