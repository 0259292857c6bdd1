"""Parts of ``benchmarks/live_catalogue.py``."""
