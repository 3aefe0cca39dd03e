"""Signs orders: addresses and domain separators are worked out once, each order costs hashes."""

import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NoReturn

from msgspec.structs import replace

from polyexec import _impl, _secp256k1
from polyexec.constants import EXCHANGES, ORDER_TYPE_V2
from polyexec.core.keys import checksum_address, parse_address, parse_bytes32, parse_private_key
from polyexec.core.orders import Order, SignedOrder
from polyexec.core.wallets import derive_funder
from polyexec.enums import Generation, SignatureType
from polyexec.errors import InputError, SigningError
from polyexec.models import OrderId
from polyexec.parsing import parse_generation

if TYPE_CHECKING:
    from polyexec._fast.nonces import NoncePool

__all__ = ["OrderSigner"]

_ORDER_TYPE_TRAILER = ORDER_TYPE_V2.encode() + len(ORDER_TYPE_V2).to_bytes(2, "big")
_CHAINS = frozenset(chain_id for chain_id, _, _ in EXCHANGES)


def random_salt() -> int:
    """Return 53 random bits from the system's generator."""
    return secrets.randbits(53)


def _started_pool(key: bytes, presign: int) -> "NoncePool":
    most = _secp256k1.MAX_NONCES
    if isinstance(presign, bool) or not isinstance(presign, int) or not 0 <= presign <= most:
        raise InputError("presign", presign, f"must be a whole number, 0 to {most}")
    try:
        pool = _secp256k1.nonce_pool(key, presign)
    except LookupError as error:
        raise InputError("presign", presign, str(error)) from None
    pool.start()
    return pool


def system_time_ms() -> int:
    """Return unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class OrderSigner:
    """One account that signs orders of every generation.

    Parameters
    ----------
    private_key : str, bytes or int
        Of the EOA that owns the account.
    chain_id : int
        137 (Polygon) or 80002 (Amoy).
    signature_type : SignatureType or int
        Who holds the money: the EOA, its proxy wallet, its Safe or its deposit wallet.
    funder : str or None
        The address that holds the money. ``None``: the EOA itself, or its wallet derived on
        chain 137 (beacon form for a deposit wallet; an account from before 2026-06-29 gives its
        own).
    exchanges : mapping of (Generation, neg_risk) to str, optional
        Contracts that replace the known ones.
    salt : callable
        Returns a salt of 0 to 2**53 - 1 for orders that have none.
    now_ms : callable
        Returns unix milliseconds for orders that have no timestamp.
    presign : int
        Nonces that a thread prepares ahead of the orders, up to 4096: a signature then takes a
        hundredth of the time, and is not the same twice. 0: RFC 6979, deterministic. What that
        costs in safety stands in "Security".

    Raises
    ------
    SigningError
        The private key cannot be one; the message never holds it.
    InputError
        Another argument, by name.
    """

    __slots__ = (
        "_address",
        "_chain_id",
        "_exchanges",
        "_funder",
        "_maker20",
        "_nonces",
        "_now_ms",
        "_salt",
        "_separators",
        "_sign",
        "_sign_plainly",
        "_signature_type",
        "_signer",
        "_signer20",
    )

    def __init__(
        self,
        private_key: str | bytes | int,
        *,
        chain_id: int = 137,
        signature_type: SignatureType | int = SignatureType.EOA,
        funder: str | None = None,
        exchanges: Mapping[tuple[Generation, bool], str] | None = None,
        salt: Callable[[], int] = random_salt,
        now_ms: Callable[[], int] = system_time_ms,
        presign: int = 0,
    ) -> None:
        key = parse_private_key(private_key)
        if chain_id not in _CHAINS:
            raise InputError("chain_id", chain_id, "must be 137 (Polygon) or 80002 (Amoy)")
        try:
            self._signature_type = SignatureType(signature_type)
        except ValueError:
            raise InputError(
                "signature_type", signature_type, "must be a SignatureType (0, 1, 2 or 3)"
            ) from None
        self._chain_id = chain_id
        self._sign = self._sign_plainly = _secp256k1.digest_signer(key)
        owner = _secp256k1.public_address(key)
        self._address = checksum_address(owner)
        if funder is None:
            self._funder = derive_funder(self._address, self._signature_type, chain_id)
        else:
            self._funder = checksum_address(parse_address(funder, "funder"))
        if self._signature_type is SignatureType.EOA and self._funder != self._address:
            raise InputError(
                "funder",
                funder,
                f"signature type EOA trades the money of {self._address}; a proxy, Safe or deposit "
                "wallet needs its own signature type (1, 2 or 3)",
            )
        self._maker20 = bytes.fromhex(self._funder[2:])
        is_wallet_signer = self._signature_type is SignatureType.POLY_1271
        self._signer = self._funder if is_wallet_signer else self._address
        self._signer20 = self._maker20 if is_wallet_signer else owner
        self._salt = salt
        self._now_ms = now_ms
        self._exchanges = {
            (generation, neg_risk): address
            for (chain, generation, neg_risk), address in EXCHANGES.items()
            if chain == chain_id
        }
        for slot, address in (exchanges or {}).items():
            if slot not in self._exchanges:
                raise InputError("exchanges", slot, "must be a (Generation, neg_risk) pair")
            self._exchanges[slot] = checksum_address(parse_address(address, "exchanges"))
        self._separators = {
            slot: _impl.exchange_domain_separator(
                int(slot[0]), chain_id, bytes.fromhex(address[2:])
            )
            for slot, address in self._exchanges.items()
        }
        self._nonces: NoncePool | None = None
        if presign:
            self._nonces = _started_pool(key, presign)
            self._sign = self._nonces.sign

    @property
    def address(self) -> str:
        """The EOA, checksummed. API credentials belong to it, whatever the signature type."""
        return self._address

    @property
    def funder(self) -> str:
        """The address that holds the money: ``maker`` of every order, checksummed."""
        return self._funder

    @property
    def chain_id(self) -> int:
        """137 or 80002."""
        return self._chain_id

    @property
    def signature_type(self) -> SignatureType:
        """Who holds the money and how signatures are checked."""
        return self._signature_type

    def exchange_address(self, generation: Generation | int | str, neg_risk: bool) -> str:
        """Return the contract that orders of this kind are signed for, checksummed."""
        return self._exchanges[self._slot(generation, neg_risk)]

    def domain_separator(self, generation: Generation | int | str, neg_risk: bool) -> bytes:
        """Return the EIP-712 domain separator of that contract."""
        return self._separators[self._slot(generation, neg_risk)]

    def sign(self, order: Order) -> SignedOrder:
        """Fill in what the order leaves open, and sign it.

        Raises
        ------
        InputError
            A V1 order of a deposit wallet: V1 does not know signature type 3.
        SigningError
            The ``salt`` or ``now_ms`` given to the signer returned something unusable.
        """
        order = self._fill(order)
        separator = self._separators[order.generation, bool(order.neg_risk)]
        struct_hash = self._struct_hash(order)
        digest = _impl.typed_data_hash(separator, struct_hash)
        if self._signature_type is SignatureType.POLY_1271:
            signature = self._sign_for_wallet(separator, struct_hash)
        else:
            signature = self._sign(digest)
        return SignedOrder(
            order=order,
            maker=self._funder,
            signer=self._signer,
            signature_type=int(self._signature_type),
            struct_hash="0x" + struct_hash.hex(),
            order_id=OrderId("0x" + digest.hex()),
            signature="0x" + signature.hex(),
        )

    def sign_batch(self, orders: Iterable[Order]) -> list[SignedOrder]:
        """Sign orders in their sequence; all or, when one cannot be signed, none."""
        return [self.sign(order) for order in orders]

    def batch_builder(self, *, owner: str, builder: str) -> "_impl.BatchBuilder":
        """Return what signs and encodes V2 and V3 batches of this account in one pass.

        Parameters
        ----------
        owner : str
            The API key.
        builder : str
            Builder code, 0x and 64 hex digits.
        """
        return _impl.BatchBuilder(
            self._nonces or self._sign,
            maker=self._maker20,
            signer=self._signer20,
            maker_text=self._funder,
            signer_text=self._signer,
            signature_type=int(self._signature_type),
            chain_id=self._chain_id,
            separators=[
                self._separators[generation, neg_risk]
                for generation in (Generation.CLOB_V2, Generation.EXCHANGE_V3)
                for neg_risk in (False, True)
            ],
            owner=owner,
            builder=parse_bytes32(builder, "builder"),
        )

    def given_salts(self, count: int) -> bytes | None:
        """Return the salts of a source that was given, as ``build_table`` takes them, or None."""
        if self._salt is random_salt:
            return None
        return b"".join((self._checked_salt() << 11).to_bytes(8, "big") for _ in range(count))

    def salt_entropy(self, count: int) -> bytes:
        """Return salts for so many orders, as ``build_table`` takes them."""
        given = self.given_salts(count)
        return os.urandom(8 * count) if given is None else given

    @property
    def is_deterministic(self) -> bool:
        """The same order signs to the same bytes: no nonces are prepared."""
        return self._nonces is None

    def _checked_salt(self) -> int:
        salt = self._salt()
        if not 0 <= salt < 1 << 53:
            raise SigningError(f"the signer's own source of salt returned {salt!r}")
        return salt

    def sign_digest(self, digest: bytes) -> bytes:
        """Return the EOA's 65-byte signature over a 32-byte digest."""
        return self._sign(digest)

    def presign_info(self) -> dict[str, int | bool] | None:
        """Return counts of the prepared nonces, or None without ``presign``.

        ``ready``, ``prepared``, ``used``, ``fallbacks`` (signatures made without one, because none
        was ready), ``running``, and whether the system granted ``locked`` memory that is
        ``not_dumped`` and ``empty_in_children``.
        """
        return None if self._nonces is None else self._nonces.info()

    def close(self) -> None:
        """Stop preparing nonces and wipe those that are left; signing goes on without."""
        if self._nonces is not None:
            self._sign = self._sign_plainly
            self._nonces.close()

    def _slot(self, generation: Generation | int | str, neg_risk: bool) -> tuple[Generation, bool]:
        return parse_generation(generation), bool(neg_risk)

    def _fill(self, order: Order) -> Order:
        is_v1 = order.generation is Generation.CLOB_V1
        if is_v1 and self._signature_type is SignatureType.POLY_1271:
            raise InputError(
                "signature_type",
                int(self._signature_type),
                "does not exist in CLOB V1: use V2 or V3",
            )
        needs_time = order.timestamp_ms is None and not is_v1
        if order.salt is not None and not needs_time:
            return order
        try:
            return replace(
                order,
                salt=self._salt() if order.salt is None else order.salt,
                timestamp_ms=self._now_ms() if needs_time else order.timestamp_ms,
            )
        except InputError as error:
            raise SigningError(
                f"the signer's own source of {error.field} returned {error.value!r}: {error.hint}"
            ) from error

    def _struct_hash(self, order: Order) -> bytes:
        if order.generation is Generation.CLOB_V1:
            return _impl.order_struct_hash_v1(
                order.salt or 0,
                self._maker20,
                self._signer20,
                bytes.fromhex(order.taker[2:]),
                int(order.token_id),
                order.maker_micro,
                order.taker_micro,
                order.expiration,
                order.nonce,
                order.fee_rate_bps,
                order.side.code,
                int(self._signature_type),
            )
        return _impl.order_struct_hash_v2(
            order.salt or 0,
            self._maker20,
            self._signer20,
            int(order.token_id),
            order.maker_micro,
            order.taker_micro,
            order.side.code,
            int(self._signature_type),
            order.timestamp_ms or 0,
            bytes.fromhex(order.metadata[2:]),
            bytes.fromhex(order.builder[2:]),
        )

    def _sign_for_wallet(self, separator: bytes, struct_hash: bytes) -> bytes:
        # ERC-7739: the contract rebuilds the digest from what follows the 65 bytes.
        digest = _impl.typed_data_sign_hash(separator, struct_hash, self._chain_id, self._maker20)
        return self._sign(digest) + separator + struct_hash + _ORDER_TYPE_TRAILER

    def __repr__(self) -> str:
        return (
            f"OrderSigner(address={self._address!r}, chain_id={self._chain_id}, "
            f"signature_type={self._signature_type.name}, funder={self._funder!r})"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("an OrderSigner holds a private key: it cannot be pickled or copied")
