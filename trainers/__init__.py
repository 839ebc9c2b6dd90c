"""The programs: configuration, the training loop and the command line."""
