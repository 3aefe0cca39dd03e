"""Gamma, the exchange's market metadata: events and markets as they come, page by page.

Public and read only. What the records mean is for :mod:`polyexec.core.ranges`.
"""

import ssl
from datetime import UTC, datetime
from typing import Any, Final

from polyexec.clob import wire
from polyexec.clob.cold import ColdHttp
from polyexec.errors import UnexpectedResponseError

__all__ = ["GammaClient"]

_PAGE: Final = 100
_MAX_PAGES: Final = 50


class GammaClient:
    """Asks Gamma. Use it on one event loop; close it when done.

    Parameters
    ----------
    url : str
        ``https://host[:port]``; no other host is ever contacted and redirects are not followed.
    ssl_context : ssl.SSLContext or None
        The only way to change what is trusted.
    timeout_s : float
        For connecting, and for every wait for the peer.

    Raises
    ------
    ConfigError
        The URL is not an https host.

    Notes
    -----
    Every method raises ``VenueError`` and its kin for a refusal, ``NotSentError`` when Gamma was
    not reached, ``OutcomeUnknownError`` when no answer came.
    """

    def __init__(
        self, url: str, *, ssl_context: ssl.SSLContext | None = None, timeout_s: float = 10.0
    ) -> None:
        self._http = ColdHttp(
            url, ssl_context=ssl_context, timeout_s=timeout_s, setting="gamma_url"
        )
        self.origin = self._http.origin

    def __repr__(self) -> str:
        return f"GammaClient({self.origin.url!r})"

    async def __aenter__(self) -> "GammaClient":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def events(
        self,
        *,
        tag_slug: str = "",
        slug: str = "",
        end_min_ms: int | None = None,
        end_max_ms: int | None = None,
    ) -> list[Any]:
        """Return the events that are not closed, each with its markets, as they came.

        Parameters
        ----------
        tag_slug : str
            Only events with this tag, as ``bitcoin``.
        slug : str
            Only the event of this name.
        end_min_ms, end_max_ms : int or None
            Unix milliseconds that ``endDate`` has to lie between.
        """
        query: dict[str, Any] = {"closed": "false"}
        if tag_slug:
            query["tag_slug"] = tag_slug
        if slug:
            query["slug"] = slug
        if end_min_ms is not None:
            query["end_date_min"] = _iso(end_min_ms)
        if end_max_ms is not None:
            query["end_date_max"] = _iso(end_max_ms)
        return await self._pages("/events", query)

    async def market(self, condition_id: str) -> Any:
        """Return the market of a condition as it came, or None."""
        rows = await self._pages("/markets", {"condition_ids": condition_id})
        return next((row for row in rows if _condition(row) == condition_id), None)

    async def _pages(self, path: str, query: dict[str, Any]) -> list[Any]:
        """Return the rows of all pages, once each."""
        # Rows move between the pages while they are read: twice the same is passed over.
        found: dict[str, Any] = {}
        for page in range(_MAX_PAGES):
            asked = query | {"limit": _PAGE, "offset": page * _PAGE, "order": "id"}
            rows = wire.parse_body(*await self._http.ask("GET", path, query=asked))
            if not isinstance(rows, list):
                raise UnexpectedResponseError(200, f"{path} is not answered with a list")
            for row in rows:
                name = row.get("id") if isinstance(row, dict) else None
                found.setdefault(str(name) if name else f"row {len(found)}", row)
            if len(rows) < _PAGE:
                return list(found.values())
        raise UnexpectedResponseError(200, f"{path} has more than {_MAX_PAGES} pages")


def _iso(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _condition(row: Any) -> str:
    value = row.get("conditionId") if isinstance(row, dict) else None
    return value if isinstance(value, str) else ""
