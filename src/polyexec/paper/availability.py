"""When the paper exchange takes what: its mode, its rate limits, its dead man's switch."""

from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

from polyexec.core.buckets import TokenBucket
from polyexec.enums import VenueMode
from polyexec.errors import InputError
from polyexec.paper.errors import Refused

__all__ = ["Heartbeats", "Modes", "SignerLimits"]

HEARTBEAT_LIFE_MS: Final = 10_000
_SECOND_MS: Final = 1000
_POST_ONLY: Final = "post-only mode: only post-only orders and cancels are allowed"
_TEXTS: Final = {
    VenueMode.CANCEL_ONLY: (
        "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed."
    ),
    VenueMode.DISABLED: "Trading is currently disabled.",
}


class Modes:
    """What the exchange accepts now: set by hand, or by a restart that ends by itself."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        # What comes after what: each with the time at which it begins.
        self._plan: list[tuple[int, VenueMode]] = [(0, VenueMode.NORMAL)]

    @property
    def mode(self) -> VenueMode:
        """The present mode."""
        now = self._clock()
        while len(self._plan) > 1 and self._plan[1][0] <= now:
            del self._plan[0]
        return self._plan[0][1]

    def set(self, mode: VenueMode) -> None:
        """Stay in a mode until told otherwise."""
        self._plan = [(self._clock(), mode)]

    def restart(self, down_ms: int, post_only_ms: int) -> None:
        """Be down, then post-only, then normal."""
        self._plan = []
        self.schedule(self._clock(), down_ms, post_only_ms)

    def schedule(self, at_ms: int, down_ms: int, post_only_ms: int) -> None:
        """Do so from that unix time on; what is scheduled has to be later than what was."""
        self._plan += [
            (at_ms, VenueMode.RESTARTING),
            (at_ms + down_ms, VenueMode.POST_ONLY),
            (at_ms + down_ms + post_only_ms, VenueMode.NORMAL),
        ]

    def check_orders(self) -> None:
        """Refuse orders of every kind, where the mode does."""
        mode = self.mode
        self._check_up(mode)
        if mode in _TEXTS:
            raise Refused(_TEXTS[mode], 503)

    def check_cancels(self) -> None:
        """Refuse cancels, where the mode does."""
        self._check_up(self.mode)

    def check_taker(self) -> None:
        """Refuse an order that is not post-only, where the mode does."""
        if self.mode is VenueMode.POST_ONLY:
            raise Refused(_POST_ONLY, 503, extra={"code": "post_only_mode"} | self._wait())

    def _check_up(self, mode: VenueMode) -> None:
        if mode is VenueMode.RESTARTING:
            wait = self._wait()
            headers = {"retry-after": str(wait["retry_after_seconds"])} if wait else {}
            raise Refused("Too Early: the matching engine is restarting", 425, headers=headers)

    def _wait(self) -> dict[str, Any]:
        if len(self._plan) < 2:
            return {}
        left_ms = self._plan[1][0] - self._clock()
        return {"retry_after_seconds": -(-left_ms // _SECOND_MS)}


class SignerLimits:
    """Token buckets per signer and kind, and their headers.

    Parameters
    ----------
    clock : callable
        Unix time in milliseconds.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], TokenBucket] = {}
        self.tier = ""
        self._rates: dict[str, tuple[int, int]] = {}
        # Generous: a test that is not about limits must not meet one.
        self.set(orders=(100_000, 1_000_000), cancels=(100_000, 1_000_000))

    def set(self, *, orders: tuple[int, int], cancels: tuple[int, int], tier: str = "") -> None:
        """Set rate per second and burst of both kinds, for everybody, and start with full buckets.

        Raises
        ------
        InputError
            A number is below 1.
        """
        for name, figures in (("orders", orders), ("cancels", cancels)):
            if min(figures) < 1:
                raise InputError(name, figures, "must be a rate and a burst of at least 1")
        self._rates = {"orders": orders, "cancels": cancels}
        self.tier = tier
        self._buckets.clear()

    def take(self, address: str, kind: str, cost: int, *, may_owe: bool = False) -> dict[str, str]:
        """Take tokens and return the headers that tell of it, or refuse all of it with 429."""
        now = self._clock() * 1_000_000
        rate, burst = self._rates[kind]
        bucket = self._buckets.get((address, kind))
        if bucket is None:
            bucket = TokenBucket(burst, rate, 1_000_000_000, now)
            self._buckets[address, kind] = bucket
        wait = bucket.wait_ns(min(cost, burst) if may_owe else cost, now)
        if wait:
            seconds = 1 if wait < 0 else -(-wait // 1_000_000_000)
            headers = self._headers(bucket, now) | {"retry-after": str(seconds)}
            raise Refused(f"Rate limit exceeded: {cost} {kind}", 429, headers=headers)
        bucket.take(cost, now)
        return self._headers(bucket, now)

    def charge(self, address: str, kind: str, cost: int) -> dict[str, str]:
        """Take tokens that a request turned out to cost."""
        now = self._clock() * 1_000_000
        bucket = self._buckets[address, kind]
        bucket.take(cost, now)
        return self._headers(bucket, now)

    def _headers(self, bucket: TokenBucket, now: int) -> dict[str, str]:
        full_ns = max(0, bucket.wait_ns(bucket.capacity, now))
        headers = {
            "poly-ratelimit-remaining": str(bucket.tokens(now)),
            "poly-ratelimit-reset": str(-(-(now + full_ns) // 1_000_000_000)),
        }
        return headers | ({"poly-ratelimit-tier": self.tier} if self.tier else {})


class Heartbeats:
    """Who has promised to be alive. Looked at when something is asked, as expirations are."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._ids: dict[str, str] = {}
        self._heard_ms: dict[str, int] = {}

    def beat(self, address: str, heartbeat_id: str) -> str:
        """Take a beat and return the next id; a stale one is refused with the one expected."""
        expected = self._ids.get(address)
        if expected is not None and heartbeat_id not in ("", expected):
            raise Refused(
                "Invalid Heartbeat ID",
                key="error_msg",
                extra={"heartbeat_id": expected},
            )
        self._ids[address] = fresh = str(uuid4())
        self._heard_ms[address] = self._clock()
        return fresh

    def lapsed(self) -> list[str]:
        """Return, once each, who has been silent for too long."""
        now = self._clock()
        silent = [a for a, at in self._heard_ms.items() if now - at > HEARTBEAT_LIFE_MS]
        for address in silent:
            del self._heard_ms[address]
        return silent
