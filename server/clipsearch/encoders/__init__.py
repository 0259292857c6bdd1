"""Bundle manifest, tokenizer, image preprocessing and ONNX Runtime sessions.

``load_encoders`` is the way in; ``manifest`` can be used without any of the rest.
"""
