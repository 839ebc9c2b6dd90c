"""Models of one's own, trained from a config that names them."""
