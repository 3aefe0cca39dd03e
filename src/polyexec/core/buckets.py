"""A token bucket in whole numbers: it neither drifts nor rounds. Time enters as an argument."""

__all__ = ["TokenBucket"]


class TokenBucket:
    """Holds at most ``capacity`` tokens and gains ``refill`` of them in every ``per_ns``.

    Not safe for threads by itself: the owner of several buckets holds one lock over all.

    Parameters
    ----------
    capacity : int
        Most tokens that it holds, and what it holds at first.
    refill : int
        Tokens gained, evenly, in every ``per_ns`` nanoseconds.
    now_ns : int
        Of a clock that never steps.

    Notes
    -----
    The level is kept in tokens times ``per_ns``, so an elapsed nanosecond is worth exactly
    ``refill``. It may be below zero: what was taken all the same is owed.
    """

    __slots__ = ("_at_ns", "_level", "_limit", "capacity", "per_ns", "refill")

    def __init__(self, capacity: int, refill: int, per_ns: int, now_ns: int) -> None:
        self.capacity = capacity
        self.refill = refill
        self.per_ns = per_ns
        self._limit = capacity * per_ns
        self._level = self._limit
        self._at_ns = now_ns

    def __repr__(self) -> str:
        return f"TokenBucket({self._level // self.per_ns} of {self.capacity})"

    def tokens(self, now_ns: int) -> int:
        """Return the whole tokens that it holds."""
        return self._filled(now_ns) // self.per_ns

    def wait_ns(self, cost: int, now_ns: int) -> int:
        """Return how long until it holds ``cost`` tokens; 0: it does, -1: it never will.

        Reads only, so it may be asked without the lock for an estimate.
        """
        missing = cost * self.per_ns - self._filled(now_ns)
        if missing <= 0:
            return 0
        return -1 if cost > self.capacity else -(-missing // self.refill)

    def take(self, cost: int, now_ns: int) -> None:
        """Take ``cost`` tokens, whether it holds them or not."""
        self._level = self._filled(now_ns) - cost * self.per_ns
        self._at_ns = max(self._at_ns, now_ns)

    def put(self, tokens: int, now_ns: int) -> None:
        """Let it hold exactly so many tokens; more than it can hold make it larger."""
        if tokens > self.capacity:
            self.resize(tokens, self.refill, now_ns)
        self._level = tokens * self.per_ns
        self._at_ns = max(self._at_ns, now_ns)

    def resize(self, capacity: int, refill: int, now_ns: int) -> None:
        """Change its size and rate; what was missing from the old size is missing from the new."""
        missing = self._limit - self._filled(now_ns)
        self.capacity = capacity
        self.refill = refill
        self._limit = capacity * self.per_ns
        self._level = self._limit - missing
        self._at_ns = max(self._at_ns, now_ns)

    def _filled(self, now_ns: int) -> int:
        elapsed = now_ns - self._at_ns
        if elapsed <= 0:
            return self._level
        level = self._level + elapsed * self.refill
        return level if level < self._limit else self._limit
