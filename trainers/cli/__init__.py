"""The command line, one file per command: argv -> Config -> one call. Imports no TensorFlow."""
