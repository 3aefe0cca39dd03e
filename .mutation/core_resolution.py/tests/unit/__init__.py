"""One file per module, at the same path."""
