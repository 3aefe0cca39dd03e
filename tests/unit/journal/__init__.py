"""Tests of the journal's files."""
