"""The source of every figure in README and docs. Each file is one command and writes to benchmarks/results/."""
