"""How the exchange says no: one exception that carries its own status and words."""

__all__ = ["Refused"]


class Refused(Exception):
    """A request or an order is refused; nothing was changed.

    Parameters
    ----------
    message : str
        The exchange's text, as it goes into ``error`` or ``errorMsg``.
    status : int
        HTTP status when the refusal answers a whole request.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        self.message = message
        self.status = status
        super().__init__(message)
