"""Checkpoint to ONNX bundle: the only package that imports torch and transformers."""
