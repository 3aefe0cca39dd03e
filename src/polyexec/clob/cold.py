"""HTTP for what is not on the path of an order: one host, bounded answers, mapped faults."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, TypeAlias

import httpx

from polyexec.clob.http2 import quiet_hpack
from polyexec.clob.origin import default_ssl_context, parse_origin
from polyexec.errors import NotSentError, OutcomeUnknownError, UnexpectedResponseError, UsageError

__all__ = ["ColdHttp", "Raw"]

Raw: TypeAlias = tuple[int, bytes, Mapping[str, str]]
"""Status, body, headers with names in any case."""

_MAX_ANSWER = 32 * 1024 * 1024
# Nothing of the request can have reached the host.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
)


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
        quiet_hpack()
        # trust_env off: no proxy, no netrc and no certificate switch from the environment.
        self._http = httpx.AsyncClient(
            base_url=self.origin.url,
            verify=default_ssl_context() if ssl_context is None else ssl_context,
            http2=True,
            trust_env=False,
            follow_redirects=False,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=10, max_keepalive_connections=10),
            # No compression: the size limit then holds for what is read.
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

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
        request = self._http.build_request(
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
        try:
            # httpx limits every wait; an answer that drips in has to end as well.
            async with asyncio.timeout(self._total_timeout_s):
                response = await self._http.send(request, stream=True)
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
        return response.status_code, content, response.headers


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
