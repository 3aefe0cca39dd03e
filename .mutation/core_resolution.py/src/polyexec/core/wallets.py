"""Addresses of the wallets that belong to an account, derived by CREATE2 (Polygon, chain 137).

An exchange contract derives the wallet of the signer in the same way, so the funder of an order
is never free: a wrong one is refused as an invalid signature.
"""

from polyexec import _impl, constants
from polyexec.core.keys import checksum_address, parse_address
from polyexec.enums import SignatureType
from polyexec.errors import InputError

__all__ = [
    "deposit_wallet",
    "deposit_wallet_uups",
    "derive_funder",
    "infer_signature_type",
    "proxy_wallet",
    "safe_wallet",
]


def proxy_wallet(address: str | bytes) -> str:
    """Return the proxy wallet (signature type 1) of an EOA."""
    owner = parse_address(address, "address")
    return _create2(
        constants.PROXY_FACTORY,
        _impl.keccak256(owner),
        bytes.fromhex(constants.PROXY_INIT_CODE_HASH[2:]),
    )


def safe_wallet(address: str | bytes) -> str:
    """Return the Gnosis Safe (signature type 2) of an EOA."""
    owner = parse_address(address, "address")
    return _create2(
        constants.SAFE_FACTORY,
        _impl.keccak256(owner.rjust(32, b"\0")),
        bytes.fromhex(constants.SAFE_INIT_CODE_HASH[2:]),
    )


def deposit_wallet(address: str | bytes) -> str:
    """Return the deposit wallet (signature type 3) of an EOA: beacon form, since 2026-06-29."""
    return _deposit(address, constants.DEPOSIT_BEACON_INIT_CODE)


def deposit_wallet_uups(address: str | bytes) -> str:
    """Return the deposit wallet (signature type 3) of an account made before 2026-06-29."""
    return _deposit(address, constants.DEPOSIT_UUPS_INIT_CODE)


def derive_funder(address: str, signature_type: SignatureType, chain_id: int) -> str:
    """Return the wallet that holds the money of an account.

    Raises
    ------
    InputError
        The chain has no known factories, so ``funder`` must be given.
    """
    if signature_type is SignatureType.EOA:
        return address
    if chain_id != constants.POLYGON:
        raise InputError(
            "funder",
            None,
            f"cannot be derived on chain {chain_id}: give the wallet's address",
        )
    derive = {
        SignatureType.POLY_PROXY: proxy_wallet,
        SignatureType.POLY_GNOSIS_SAFE: safe_wallet,
        SignatureType.POLY_1271: deposit_wallet,
    }
    return derive[signature_type](address)


def infer_signature_type(address: str, funder: str) -> SignatureType:
    """Return the signature type of an account by what its funder is to its EOA (chain 137).

    Raises
    ------
    InputError
        The funder is none of the wallets that derive from the EOA.
    """
    wallet = checksum_address(parse_address(funder, "funder"))
    owner = checksum_address(parse_address(address, "address"))
    kinds = {
        owner: SignatureType.EOA,
        proxy_wallet(owner): SignatureType.POLY_PROXY,
        safe_wallet(owner): SignatureType.POLY_GNOSIS_SAFE,
        deposit_wallet(owner): SignatureType.POLY_1271,
        deposit_wallet_uups(owner): SignatureType.POLY_1271,
    }
    if wallet not in kinds:
        raise InputError(
            "funder",
            funder,
            f"is no wallet of {owner}: check the address, or give the signature type",
        )
    return kinds[wallet]


def _deposit(address: str | bytes, init_code: str) -> str:
    owner = parse_address(address, "address")
    factory = bytes.fromhex(constants.DEPOSIT_FACTORY[2:])
    # Constructor arguments (factory, wallet id) follow the code; their hash is the salt as well.
    arguments = factory.rjust(32, b"\0") + owner.rjust(32, b"\0")
    return _create2(
        constants.DEPOSIT_FACTORY,
        _impl.keccak256(arguments),
        _impl.keccak256(bytes.fromhex(init_code) + arguments),
    )


def _create2(factory: str, salt: bytes, init_code_hash: bytes) -> str:
    deployer = bytes.fromhex(factory[2:])
    return checksum_address(_impl.keccak256(b"\xff" + deployer + salt + init_code_hash)[12:])
