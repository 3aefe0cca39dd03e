"""Hours of feed with everything that can go wrong on the way, in minutes."""
