"""Benchmarks: ``make bench ONLY=regex``. See ``run.py`` for how a row is measured."""
