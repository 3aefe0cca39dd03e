"""The readable twin of ``_fast``: the specification, the test oracle and the fallback."""
