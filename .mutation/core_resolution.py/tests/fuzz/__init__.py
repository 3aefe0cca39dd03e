"""Fuzzing: ``make fuzz SECONDS=60``. Targets live in ``targets/``; see ``registry.target``."""
