"""What stands around the executor, each part by itself."""
