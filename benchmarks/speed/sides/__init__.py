"""Each module has `make(...)`, which returns `train(calls)`, which returns how many examples it trained."""
