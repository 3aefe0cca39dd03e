"""Unit tests of the live exchange's client."""
