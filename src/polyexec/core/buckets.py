"""A token bucket in whole numbers: it neither drifts nor rounds. Time enters as an argument."""

from collections.abc import Iterable

__all__ = ["TokenBucket", "take_from_all"]


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
    Kept is one number, the time at which it will be full again, in nanoseconds times ``refill``. A
    token is worth ``per_ns`` of these, so nothing is divided. What was taken in excess is owed.
    """

    __slots__ = ("capacity", "full_at", "per_ns", "refill", "span")

    def __init__(self, capacity: int, refill: int, per_ns: int, now_ns: int) -> None:
        self.capacity = capacity
        self.refill = refill
        self.per_ns = per_ns
        self.span = capacity * per_ns
        """Time from empty to full."""
        self.full_at = now_ns * refill

    def __repr__(self) -> str:
        return f"TokenBucket(capacity={self.capacity}, {self.refill} per {self.per_ns} ns)"

    def tokens(self, now_ns: int) -> int:
        """Return the whole tokens that it holds."""
        return (self.span - self._missing(now_ns)) // self.per_ns

    def wait_ns(self, cost: int, now_ns: int) -> int:
        """Return how long until it holds ``cost`` tokens; 0: it does, -1: it never will.

        Reads only, so it may be asked without the lock for an estimate.
        """
        short = self._missing(now_ns) + cost * self.per_ns - self.span
        if short <= 0:
            return 0
        return -1 if cost > self.capacity else -(-short // self.refill)

    def take(self, cost: int, now_ns: int) -> None:
        """Take ``cost`` tokens, whether it holds them or not."""
        self.full_at = max(self.full_at, now_ns * self.refill) + cost * self.per_ns

    def put(self, tokens: int, now_ns: int) -> None:
        """Let it hold exactly so many tokens; more than it can hold make it larger."""
        if tokens > self.capacity:
            self.capacity = tokens
            self.span = tokens * self.per_ns
        self.full_at = now_ns * self.refill + self.span - tokens * self.per_ns

    def resize(self, capacity: int, refill: int, now_ns: int) -> None:
        """Change its size and rate; what was missing from the old size is missing from the new."""
        missing = self._missing(now_ns)
        self.capacity = capacity
        self.refill = refill
        self.span = capacity * self.per_ns
        self.full_at = now_ns * refill + missing

    def _missing(self, now_ns: int) -> int:
        missing = self.full_at - now_ns * self.refill
        return missing if missing > 0 else 0


def take_from_all(buckets: Iterable[TokenBucket], now_ns: int) -> TokenBucket | None:
    """Take one token from every bucket, or from none: then the one that lacks it is returned."""
    # Spelled out, because every order passes here: a call per bucket would cost more than the rest.
    for bucket in buckets:
        now = now_ns * bucket.refill
        full_at = bucket.full_at
        full_at = (full_at if full_at > now else now) + bucket.per_ns
        if full_at - now > bucket.span:
            for earlier in buckets:
                if earlier is bucket:
                    break
                earlier.full_at -= earlier.per_ns
            return bucket
        bucket.full_at = full_at
    return None
