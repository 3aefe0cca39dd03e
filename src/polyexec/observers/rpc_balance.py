"""The balance that the chain has: ``balanceOf`` of the collateral, asked for over JSON-RPC."""

import json
import re
from collections.abc import Sequence
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from polyexec.constants import POLYGON, PUSD
from polyexec.errors import ConfigError
from polyexec.numbers import from_micro
from polyexec.observers.balance import Reading, SourceError
from polyexec.secret import Secret

__all__ = ["RpcBalance"]

_BALANCE_OF: Final = "0x70a08231"  # first 4 bytes of keccak256("balanceOf(address)")
_ADDRESS: Final = re.compile(r"0[xX][0-9a-fA-F]{40}\Z")
_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}\Z")
_WORD: Final = re.compile(r"0x[0-9a-fA-F]{64}\Z")
_MOST_BYTES: Final = 2**18


class RpcBalance:
    """Asks a node for an ERC-20 balance of 6 decimals, as ``BalanceSource``.

    The balance is that of a block, and the block's time is its as-of time: a node that has fallen
    behind shows by it.

    Parameters
    ----------
    url : str or Secret
        Of the node; it may hold a key, so it is never shown.
    holder : str
        Wallet that holds the money.
    contract : str
        The token; pUSD by default.
    chain_id : int
        The node is asked for its own once: another chain's balance is refused.
    timeout_s : float
        Of each request.

    Raises
    ------
    ConfigError
        Not an http(s) URL, or not an address.
    """

    def __init__(
        self,
        url: str | Secret,
        holder: str,
        *,
        contract: str = PUSD,
        chain_id: int = POLYGON,
        timeout_s: float = 3.0,
    ) -> None:
        self._url = Secret(url)
        self._chain_id = chain_id
        parts = _split(self._url.reveal())
        for name, value in (("holder", holder), ("contract", contract)):
            if not isinstance(value, str) or not _ADDRESS.match(value):
                raise ConfigError(f"{name}={value!r}: must be 0x and 40 hex digits")
        self.name = f"rpc:{parts.hostname}"
        self._call = {
            "to": contract,
            "data": _BALANCE_OF + holder[2:].lower().rjust(64, "0"),
        }
        self._ids = count(1)
        self._is_right_chain = False
        # Proxies of the environment are for browsers: the node is asked directly.
        self._http = httpx.AsyncClient(timeout=timeout_s, trust_env=False)

    async def read(self) -> Reading:
        """Ask for the newest block, then for the balance in it.

        Raises
        ------
        SourceError
            There is no answer, or one that is not JSON-RPC's.
        """
        if not self._is_right_chain:
            chain = _quantity("eth_chainId", await self._ask("eth_chainId", []))
            if chain != self._chain_id:
                raise SourceError(f"the node is of chain {chain}, not of {self._chain_id}")
            self._is_right_chain = True
        block = await self._ask("eth_getBlockByNumber", ["latest", False])
        if not isinstance(block, dict):
            raise SourceError("the node has no newest block")
        number, seconds = block.get("number"), _quantity("timestamp", block.get("timestamp"))
        _quantity("number", number)
        word = await self._ask("eth_call", [self._call, number])
        if not isinstance(word, str) or not _WORD.match(word):
            # An address without code answers "0x": a wrong contract, or a wrong chain.
            raise SourceError(f"balanceOf gave {str(word)[:20]!r}: is the contract the right one?")
        return Reading(from_micro(int(word, 16)), seconds * 1000)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def _ask(self, method: str, parameters: Sequence[Any]) -> Any:
        number = next(self._ids)
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
        try:
            answer = _result(await self._post(body), number)
        except SourceError as error:
            raise SourceError(f"{method}: {error}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # Their texts may repeat the URL.
            raise SourceError(f"{method}: {type(error).__name__}") from None
        return answer

    async def _post(self, body: dict[str, Any]) -> bytes:
        data = bytearray()
        async with self._http.stream("POST", self._url.reveal(), json=body) as response:
            if response.status_code != 200:
                raise SourceError(f"HTTP {response.status_code}")
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > _MOST_BYTES:
                    raise SourceError(f"an answer of more than {_MOST_BYTES} bytes")
        return bytes(data)


def _split(url: str) -> Any:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigError("rpc_url: is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("rpc_url: must be http://host or https://host, perhaps with a path")
    return parts


def _result(data: bytes, number: int) -> Any:
    """Return the result of a JSON-RPC answer."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        raise SourceError("the answer is not JSON") from None
    if not isinstance(answer, dict) or answer.get("id") != number:
        raise SourceError("the answer is not to this question")
    if answer.get("error") is not None:
        error = answer["error"]
        code = error.get("code") if isinstance(error, dict) else None
        raise SourceError(f"the node refused it (code {str(code)[:20]})")
    return answer.get("result")


def _quantity(name: str, value: object) -> int:
    if not isinstance(value, str) or not _QUANTITY.match(value):
        raise SourceError(f"{name}: is no number of a node: {str(value)[:20]!r}")
    return int(value, 16)
