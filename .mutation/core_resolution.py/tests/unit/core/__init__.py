"""Tests of the sans-I/O heart."""
