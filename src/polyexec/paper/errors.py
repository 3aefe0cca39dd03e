"""How the exchange says no: one exception that carries its own status and words."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["NO_BOOK", "Refused"]

NO_BOOK = "No orderbook exists for the requested token id"


class Refused(Exception):
    """A request or an order is refused; nothing was changed.

    Parameters
    ----------
    message : str
        The exchange's text, as it goes into ``error`` or ``errorMsg``.
    status : int
        HTTP status when the refusal answers a whole request.
    key : str
        Name of the text in the body.
    extra : mapping
        What else the body holds.
    headers : mapping
        What else the answer says.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        *,
        key: str = "error",
        extra: Mapping[str, Any] = MappingProxyType({}),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.message = message
        self.status = status
        self.key = key
        self.extra = extra
        self.headers = headers
        super().__init__(message)
