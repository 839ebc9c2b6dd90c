"""What the figures in README and docs come from; each file is one command and writes to benchmarks/results/."""
