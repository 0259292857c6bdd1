"""What the benchmarks share: environment facts, processes, a load generator, statistics, and the report."""
