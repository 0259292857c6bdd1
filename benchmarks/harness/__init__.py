"""What the benchmarks share: environment facts, processes, load generators, statistics, and the report."""
