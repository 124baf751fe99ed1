"""Programs that measure. Their results stand in docs/benchmarks.md."""
