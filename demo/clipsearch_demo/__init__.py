"""The sample shop: a catalogue of products drawn by code, a small CLIP trained on it, and the demo that searches it."""
