"""One file per module of the paper exchange."""
