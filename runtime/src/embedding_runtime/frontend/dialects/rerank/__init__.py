"""Rankings of documents at `/v1/rerank` and `/v2/rerank`."""
