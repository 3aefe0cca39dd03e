"""Tests of the checks that ask nobody."""
