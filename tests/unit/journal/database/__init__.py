"""Tests of the trade store."""
