"""Bundle manifest, tokenizer, image preprocessing and ONNX Runtime sessions."""
