"""One module per area; each registers its targets when imported."""
