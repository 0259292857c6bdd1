"""Sample catalogue, sample model and demo: a gRPC client like any other."""
