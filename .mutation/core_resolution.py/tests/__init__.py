"""The test-suite; a package, so that its runners start as ``python -m tests.fuzz.run``."""
