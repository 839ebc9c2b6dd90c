"""`tfstable stability`: the grid of table 2 of Tang et al., 2023, on any log."""
