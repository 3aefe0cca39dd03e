"""``polyexec demo``: the whole path on an embedded paper exchange, generated or recorded."""
