"""Each module has `make(workload, ...)`, which returns `train(calls)`, of `per_call` steps each."""
