"""The money: balance, reservations, positions. ``_pure.ledger`` has the rules, word by word.

``available = settled - held - pending_out``. A balance refresh writes ``settled`` and never
touches a reservation; a reservation ends exactly once.
"""

from typing import ClassVar, Final

import msgspec

from polyexec import _impl
from polyexec._impl import Reservation
from polyexec.enums import Side
from polyexec.errors import InternalError
from polyexec.models import TokenId

__all__ = ["COLLATERAL", "UNDATED", "Ledger", "Reservation", "Shortage", "asset_given"]

COLLATERAL: Final = TokenId("")
"""Key of the collateral among the assets; a token id is never empty."""

UNDATED: Final = 2**63 - 1
"""Time of a movement that has not settled: no balance contains it."""


class Shortage(msgspec.Struct, frozen=True):
    """Why a reservation was refused: nothing changed."""

    asset: TokenId
    needed_micro: int
    available_micro: int


class Ledger(_impl.LedgerCore):
    """Balance, positions and reservations of one account, in micro-units. For any thread.

    ``reserve`` and ``release`` never wait, for other threads or for a refresh. An amount that
    cannot be (negative, a bool, a float, above 63 bits) raises ``InternalError`` and nothing
    changes; so does a broken invariant.
    """

    __slots__ = ()

    _fault: ClassVar = InternalError
    _shortage: ClassVar = Shortage


def asset_given(side: Side, token_id: TokenId) -> TokenId:
    """Return the asset that an order gives: collateral for a BUY, the token for a SELL."""
    return COLLATERAL if side is Side.BUY else token_id
