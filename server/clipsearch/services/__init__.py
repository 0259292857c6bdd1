"""The use cases: embed and search; no grpc, onnxruntime or faiss in sight."""
