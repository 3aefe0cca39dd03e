"""Everything that the documentation shows is run."""
