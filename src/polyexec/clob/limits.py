"""The exchange's rate limits, kept here too: a request over one is refused without a round trip.

Two layers, as in the REST notes, section 8: windows per endpoint, which count requests, and the
signer's two buckets, which count orders and cancelled ids. The signer's are corrected from what
the answers say. No I/O; time comes from the clocks that are given.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from polyexec.core.buckets import TokenBucket, take_from_all
from polyexec.errors import ConfigError

__all__ = ["TIERS", "RateLimits", "Refusal", "SignerKind"]

SignerKind: TypeAlias = Literal["orders", "cancels"]

_SECOND: Final = 1_000_000_000
_SHORT_S: Final = 10
_LONG_S: Final = 600
# A bucket of a quarter that refills with three quarters of a window's limit in a window's time
# never lets more than the limit pass in any window, wherever the exchange's windows begin.
_BURST: Final = 4
_DEFAULT_PAUSE_NS: Final = _SECOND
_MAX_PAUSE_NS: Final = 300 * _SECOND
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")

TIERS: Final[Mapping[str, tuple[int, int, int, int]]] = {
    "standard": (40, 60, 80, 120),
    "copper": (60, 90, 120, 180),
    "bronze": (80, 120, 160, 240),
    "silver": (200, 300, 400, 600),
    "gold": (400, 600, 800, 1200),
    "platinum": (450, 675, 900, 1350),
    "diamond": (525, 787, 1050, 1575),
    "elite": (600, 900, 1200, 1800),
}
"""Per tier: orders per second, their burst, cancels per second, their burst."""

# Window: requests in 10 s, requests in 10 min (0: none stated).
_WINDOWS: Final[Mapping[str, tuple[int, int]]] = {
    "all endpoints": (9000, 0),
    "POST /order": (5000, 120_000),
    "DELETE /order": (5000, 120_000),
    "POST /orders": (2000, 21_000),
    "DELETE /orders": (2000, 15_000),
    "DELETE /cancel-market-orders": (1500, 21_000),
    "DELETE /cancel-all": (250, 6000),
    "GET /book": (1500, 0),
    "GET /price": (1500, 0),
    "GET /midpoint": (1500, 0),
    "POST /books": (500, 0),
    "GET /tick-size": (200, 0),
    "GET /balance-allowance": (200, 0),
    "GET /balance-allowance/update": (50, 0),
    "orders and trades": (900, 0),
    "GET /data/orders": (500, 0),
    "GET /data/trades": (500, 0),
    "API keys": (100, 0),
    "GET /ok": (100, 0),
}
_SHARED: Final[Mapping[str, tuple[str, ...]]] = {
    "GET /data/order": ("orders and trades",),
    "GET /data/orders": ("orders and trades", "GET /data/orders"),
    "GET /data/trades": ("orders and trades", "GET /data/trades"),
    **dict.fromkeys(
        (
            "POST /auth/api-key",
            "DELETE /auth/api-key",
            "GET /auth/api-keys",
            "GET /auth/derive-api-key",
        ),
        ("API keys",),
    ),
}
_SIGNER: Final[Mapping[str, SignerKind]] = {
    "POST /order": "orders",
    "POST /orders": "orders",
    "DELETE /order": "cancels",
    "DELETE /orders": "cancels",
    "DELETE /cancel-all": "cancels",
    "DELETE /cancel-market-orders": "cancels",
}


class Refusal(msgspec.Struct, frozen=True):
    """Why a request may not be sent now."""

    limit: str
    """Which limit, for people."""
    wait_ms: int | None
    """Milliseconds until it would pass; None: it is larger than the limit will ever allow."""

    def __str__(self) -> str:
        when = "never passes" if self.wait_ms is None else f"would pass in {self.wait_ms} ms"
        return f"rate limit of {self.limit}: {when}"


class _Signer:
    """A bucket of the signer, and what of it is on its way."""

    __slots__ = ("bucket", "in_flight", "may_owe", "name")

    def __init__(self, name: str, bucket: TokenBucket, *, may_owe: bool) -> None:
        self.name = name
        self.bucket = bucket
        self.in_flight = 0
        self.may_owe = may_owe


class _Endpoint:
    __slots__ = ("closed_until_ns", "labels", "name", "signer", "windows")

    def __init__(
        self, name: str, windows: tuple[tuple[str, TokenBucket], ...], signer: _Signer | None
    ) -> None:
        self.name = name
        self.labels = tuple(label for label, _ in windows)
        self.windows = tuple(window for _, window in windows)
        self.signer = signer
        self.closed_until_ns = 0


class RateLimits:
    """What may be sent now. Every method may be called from any thread; none waits.

    Parameters
    ----------
    tier : str
        The signer's, until an answer names another.
    now_ns : callable
        A clock that never steps, nanoseconds.
    unix_s : callable
        Unix time in seconds, for ``Poly-RateLimit-Reset``.

    Raises
    ------
    ConfigError
        A tier that is not in ``TIERS``.

    Notes
    -----
    A request is named by method and path, ``"POST /orders"``; one that has no limit of its own
    counts for the limit of all endpoints. Cancels may overdraw their bucket: a cancel of more ids
    than the bucket ever holds passes when it is full, and the rest is owed.
    """

    def __init__(
        self,
        tier: str = "standard",
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        if tier.lower() not in TIERS:
            raise ConfigError(f"tier={tier!r}: must be one of {', '.join(TIERS)}")
        self._now_ns = now_ns
        self._unix_s = unix_s
        self._lock = threading.Lock()
        self._tier = tier.lower()
        self._warnings = 0
        now = now_ns()
        orders, orders_burst, cancels, cancels_burst = TIERS[self._tier]
        self._orders = _Signer(
            "orders per signer", TokenBucket(orders_burst, orders, _SECOND, now), may_owe=False
        )
        self._cancels = _Signer(
            "cancels per signer", TokenBucket(cancels_burst, cancels, _SECOND, now), may_owe=True
        )
        self._endpoints = self._make_endpoints(now)
        self._other = self._endpoints.pop("")

    def __repr__(self) -> str:
        orders, cancels = self._orders.bucket, self._cancels.bucket
        return f"RateLimits(tier={self._tier!r}, orders={orders!r}, cancels={cancels!r})"

    @property
    def tier(self) -> str:
        """The signer's tier as far as it is known."""
        return self._tier

    @property
    def warnings(self) -> int:
        """Answers that warned of a limit which the exchange did not enforce."""
        return self._warnings

    def tokens(self, kind: SignerKind) -> int:
        """Return the tokens left in a bucket of the signer, below zero: owed."""
        signer = self._orders if kind == "orders" else self._cancels
        with self._lock:
            return signer.bucket.tokens(self._now_ns())

    def set_tier(self, tier: str) -> bool:
        """Take over a tier's rates; False for one that is not known, and nothing changes."""
        with self._lock:
            return self._set_tier(tier)

    def wait_ms(self, endpoint: str, cost: int = 1) -> int:
        """Return about how long until a request would pass, at least 1 ms; 0: now.

        Takes nothing and waits for no lock, so it is an estimate; :meth:`try_take` decides.
        """
        found = self._endpoints.get(endpoint, self._other)
        now = self._now_ns()
        if found.closed_until_ns <= now:
            # As in _check, without its calls: this is asked before every order.
            signer = found.signer
            for window in found.windows:
                if window.full_at - now * window.refill + window.per_ns > window.span:
                    break
            else:
                if signer is None:
                    return 0
                bucket = signer.bucket
                needed = bucket.capacity if signer.may_owe and cost > bucket.capacity else cost
                if bucket.full_at - now * bucket.refill + needed * bucket.per_ns <= bucket.span:
                    return 0
        refusal = self._check(found, cost, now)
        if refusal is None:
            return 0
        return _MAX_PAUSE_NS // 1_000_000 if refusal.wait_ms is None else refusal.wait_ms

    def try_take(self, endpoint: str, cost: int = 1) -> Refusal | None:
        """Take what a request costs from every limit that it counts for, or from none.

        Parameters
        ----------
        endpoint : str
            Method and path.
        cost : int
            Orders or ids in the request. Windows count it as one request all the same.

        Returns
        -------
        Refusal or None
            None: taken. Then :meth:`answered` has to be called once, with the same two arguments.
        """
        found = self._endpoints.get(endpoint, self._other)
        now = self._now_ns()
        with self._lock:
            signer = found.signer
            if signer is not None:
                bucket = signer.bucket
                needed = bucket.capacity if signer.may_owe and cost > bucket.capacity else cost
                if bucket.wait_ns(needed, now):
                    return self._check(found, cost, now)
            if found.closed_until_ns > now or take_from_all(found.windows, now) is not None:
                return self._check(found, cost, now)
            if signer is not None:
                bucket.take(cost, now)
                signer.in_flight += cost
        return None

    def answered(
        self,
        endpoint: str,
        cost: int = 1,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        *,
        retry_after_s: float | None = None,
    ) -> None:
        """Note the answer to a request that was let through, and learn from it.

        Parameters
        ----------
        endpoint, cost
            As they were taken.
        status : int
            HTTP status; 0: no answer came.
        headers : mapping
            Its names in lower case.
        retry_after_s : float or None
            What a 429 asks for. At most 300 s are honoured; without it, one second.
        """
        found = self._endpoints.get(endpoint, self._other)
        told = headers or {}
        remaining = _whole(told.get("poly-ratelimit-remaining"))
        tier = told.get("poly-ratelimit-tier")
        now = self._now_ns()
        with self._lock:
            if told.get("poly-ratelimit-warning"):
                self._warnings += 1
            if tier is not None:
                self._set_tier(tier)
            signer = found.signer
            if signer is not None:
                signer.in_flight = max(0, signer.in_flight - cost)
                if remaining is not None:
                    # What is on its way has not been counted over there yet.
                    signer.bucket.put(remaining - signer.in_flight, now)
            if status == 429:
                pause = self._pause_ns(retry_after_s, _whole(told.get("poly-ratelimit-reset")))
                self._close(found, now + pause)

    def charge(self, kind: SignerKind, tokens: int) -> None:
        """Count tokens that a request turned out to cost; what is not there is owed."""
        signer = self._orders if kind == "orders" else self._cancels
        with self._lock:
            signer.bucket.take(tokens, self._now_ns())

    def _check(self, endpoint: _Endpoint, cost: int, now: int) -> Refusal | None:
        if endpoint.closed_until_ns > now:
            return Refusal(f"{endpoint.name} (429)", _ms(endpoint.closed_until_ns - now))
        signer = endpoint.signer
        if signer is not None:
            bucket = signer.bucket
            needed = min(cost, bucket.capacity) if signer.may_owe else cost
            wait = bucket.wait_ns(needed, now)
            if wait:
                return Refusal(f"{bucket.capacity} {signer.name}", _ms(wait))
        for label, window in zip(endpoint.labels, endpoint.windows, strict=True):
            wait = window.wait_ns(1, now)
            if wait:
                return Refusal(label, _ms(wait))
        return None

    def _close(self, endpoint: _Endpoint, until_ns: int) -> None:
        # The signer's bucket is one for all that draw on it: so is the pause.
        for other in self._endpoints.values():
            same_signer = endpoint.signer is not None and other.signer is endpoint.signer
            if other is endpoint or same_signer:
                other.closed_until_ns = max(other.closed_until_ns, until_ns)
        if endpoint is self._other:
            endpoint.closed_until_ns = max(endpoint.closed_until_ns, until_ns)

    def _pause_ns(self, retry_after_s: float | None, reset_s: int | None) -> int:
        if retry_after_s is not None:
            pause = int(retry_after_s * _SECOND)
        elif reset_s is not None:
            pause = reset_s * _SECOND - int(self._unix_s() * _SECOND)
        else:
            pause = _DEFAULT_PAUSE_NS
        return min(max(pause, 0), _MAX_PAUSE_NS)

    def _set_tier(self, tier: str) -> bool:
        name = tier.strip().lower()
        figures = TIERS.get(name)
        if figures is None:
            return False
        if name != self._tier:
            self._tier = name
            now = self._now_ns()
            orders, orders_burst, cancels, cancels_burst = figures
            self._orders.bucket.resize(orders_burst, orders, now)
            self._cancels.bucket.resize(cancels_burst, cancels, now)
        return True

    def _make_endpoints(self, now: int) -> dict[str, _Endpoint]:
        windows = {name: _window(name, *limits, now) for name, limits in _WINDOWS.items()}
        general = windows["all endpoints"]
        signers = {"orders": self._orders, "cancels": self._cancels}
        names = dict.fromkeys((*_WINDOWS, *_SHARED, *_SIGNER, ""))
        made = {}
        for name in names:
            own = _SHARED.get(name, (name,))
            buckets = tuple(bucket for part in own for bucket in windows.get(part, ()))
            kind = _SIGNER.get(name)
            made[name] = _Endpoint(
                name or "all endpoints", (*buckets, *general), signers[kind] if kind else None
            )
        return made


def _window(name: str, short: int, long: int, now: int) -> tuple[tuple[str, TokenBucket], ...]:
    limits = [(short, _SHORT_S)] + ([(long, _LONG_S)] if long else [])
    return tuple(
        (
            f"{name}, {limit} in {seconds} s",
            TokenBucket(limit // _BURST, limit - limit // _BURST, seconds * _SECOND, now),
        )
        for limit, seconds in limits
    )


def _ms(wait_ns: int) -> int | None:
    return None if wait_ns < 0 else -(-wait_ns // 1_000_000)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and _WHOLE.fullmatch(text.strip()) else None
