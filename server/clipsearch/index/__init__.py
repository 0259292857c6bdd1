"""IVF-PQ with exact re-rank, flat search, and tuning; knows vectors and row numbers, nothing else."""
