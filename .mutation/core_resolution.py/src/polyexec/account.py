"""The account that the settings describe."""

from polyexec.config import ExecutorConfig
from polyexec.core.signer import OrderSigner
from polyexec.core.wallets import infer_signature_type
from polyexec.enums import SignatureType
from polyexec.errors import ConfigError

__all__ = ["build_signer"]


def build_signer(config: ExecutorConfig) -> OrderSigner:
    """Return the signer that the settings describe.

    Raises
    ------
    ConfigError, SigningError
        The key is missing or bad, or an address does not belong to it.
    InputError
        ``presign`` is set, and this installation cannot prepare nonces.
    """
    if not config.private_key:
        raise ConfigError("private_key: missing; set PRIVATE_KEY or pass private_key=...")
    key = config.private_key.reveal()
    probe = OrderSigner(key, chain_id=config.chain_id)
    if config.signer_address and config.signer_address.lower() != probe.address.lower():
        raise ConfigError(
            f"signer_address={config.signer_address}: the private key belongs to {probe.address}"
        )
    kind = config.signature_type
    if kind is None:
        kind = (
            infer_signature_type(probe.address, config.proxy_address)
            if config.proxy_address
            else SignatureType.EOA
        )
    return OrderSigner(
        key,
        chain_id=config.chain_id,
        signature_type=kind,
        funder=config.proxy_address or None,
        presign=config.presign,
    )
