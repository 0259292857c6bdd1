"""Items and their embeddings in SQLite; knows durability, nothing else."""
