"""`tfstable reproducibility`: how far apart trainings of one config end that differ in exactly one thing."""
