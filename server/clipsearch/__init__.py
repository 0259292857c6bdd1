"""clipsearch: CLIP inference and visual search over gRPC."""

__version__ = "0.1.0"
