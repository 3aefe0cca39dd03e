"""HTTP for what is not on the path of an order: one host, bounded answers, mapped faults."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import httpx

from polyexec.clob.http2 import quiet_hpack
from polyexec.clob.origin import default_ssl_context, parse_origin
from polyexec.errors import NotSentError, OutcomeUnknownError, UnexpectedResponseError, UsageError

__all__ = ["ColdHttp", "Raw"]

Raw: TypeAlias = tuple[int, bytes, Mapping[str, str]]
"""Status, body, headers with names in any case."""

_MAX_ANSWER = 32 * 1024 * 1024
# The HTTP/2 library remembers the streams of a connection, up to 65,536 of 200 bytes each.
_MOST_REQUESTS: Final = 4096
# Nothing of the request can have reached the host.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
)


@dataclass(eq=False)
class _Client:
    """Connections, and what they still carry."""

    http: httpx.AsyncClient
    left: int
    in_flight: int = 0


class ColdHttp:
    """Connections to one host, for one event loop.

    Parameters
    ----------
    url : str
        ``https://host[:port]``; no other host is ever contacted and redirects are not followed.
    ssl_context : ssl.SSLContext or None
        The only way to change what is trusted.
    timeout_s : float
        For connecting, and for every wait for the peer; a whole answer has six times that.
    setting : str
        What ``url`` is called in an error.
    """

    def __init__(
        self,
        url: str,
        *,
        ssl_context: ssl.SSLContext | None,
        timeout_s: float,
        setting: str = "clob_url",
    ) -> None:
        self.origin = parse_origin(url, setting)
        self._total_timeout_s = 6 * timeout_s
        self._timeout_s = timeout_s
        self._ssl_context = default_ssl_context() if ssl_context is None else ssl_context
        quiet_hpack()
        self._client = self._new_client()
        self._worn: set[_Client] = set()

    def _new_client(self) -> _Client:
        http = httpx.AsyncClient(
            base_url=self.origin.url,
            verify=self._ssl_context,
            http2=True,
            # No proxy, no netrc and no certificate switch from the environment.
            trust_env=False,
            follow_redirects=False,
            timeout=self._timeout_s,
            limits=httpx.Limits(max_connections=10, max_keepalive_connections=10),
            # No compression: the size limit then holds for what is read.
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )
        return _Client(http, _MOST_REQUESTS)

    async def close(self) -> None:
        """Close the connections."""
        for client in (self._client, *self._worn):
            await client.http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: bytes = b"",
    ) -> Raw:
        """Send a request and return what came back.

        Raises
        ------
        NotSentError, OutcomeUnknownError
            No answer came.
        UnexpectedResponseError
            It is too long.
        """
        request = self._client.http.build_request(
            method, path, headers=headers, params=query or None, content=body or None
        )
        try:
            return await self._exchange(request)
        except OutcomeUnknownError as error:
            # A kept connection that died meanwhile: reading twice is harmless. Nothing else is.
            if method != "GET" or isinstance(
                error.__cause__, httpx.TimeoutException | TimeoutError
            ):
                raise
            return await self._exchange(request)

    async def _exchange(self, request: httpx.Request) -> Raw:
        what = f"{request.method} {request.url.path}"
        client = self._take()
        try:
            # httpx limits every wait; an answer that drips in has to end as well.
            async with asyncio.timeout(self._total_timeout_s):
                response = await client.http.send(request, stream=True)
                try:
                    content = await _read_bounded(response)
                finally:
                    await response.aclose()
        except _NOT_SENT as error:
            raise NotSentError(f"{what}: {_describe(error)}") from error
        except UnexpectedResponseError:
            raise
        except RuntimeError as error:
            # httpx says it so when the client is closed.
            raise UsageError(f"{what}: {error}") from None
        except Exception as error:
            # Not only httpx.HTTPError: a garbage status escapes from the library as ValueError, a
            # connection that ends while it writes as anyio.EndOfStream.
            raise OutcomeUnknownError(f"{what}: {_describe(error)}") from error
        finally:
            await self._give_back(client)
        return response.status_code, content, response.headers

    def _take(self) -> _Client:
        """Return connections for one more request; with the last one others take their place."""
        client = self._client
        client.left -= 1
        client.in_flight += 1
        if not client.left and not client.http.is_closed:
            self._worn.add(client)
            self._client = self._new_client()
        return client

    async def _give_back(self, client: _Client) -> None:
        client.in_flight -= 1
        if not client.in_flight and client in self._worn:
            self._worn.discard(client)
            with contextlib.suppress(Exception):  # the answer is there already
                await client.http.aclose()


async def _read_bounded(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > _MAX_ANSWER:
            raise UnexpectedResponseError(
                response.status_code, f"answer longer than {_MAX_ANSWER} bytes"
            )
    return bytes(content)


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__
