"""What is examined, and what one check learnt for the next."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from polyexec.clob.client import ClobClient
from polyexec.clob.clock import ServerClock
from polyexec.clob.limits import RateLimits
from polyexec.clob.pool import OrderTransport
from polyexec.config import ExecutorConfig
from polyexec.core.auth import ApiCredentials, L2Signer
from polyexec.doctor.findings import NotPossibleError
from polyexec.enums import SignatureType, VenueMode
from polyexec.errors import VenueModeError
from polyexec.variables import VARIABLES

__all__ = ["Account", "Case", "call_it"]

_KINDS: Final = {
    SignatureType.EOA: "the EOA",
    SignatureType.POLY_PROXY: "the proxy wallet",
    SignatureType.POLY_GNOSIS_SAFE: "the Safe",
    SignatureType.POLY_1271: "the deposit wallet",
}

_LEAST_SECRET: Final = 6


def call_it(kind: SignatureType) -> str:
    """Return what people call the wallet of a signature type."""
    return _KINDS[kind]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs, and whose money it is."""

    address: str
    funder: str
    signature_type: SignatureType


class Case:
    """The settings, where they lead, and what the checks have learnt so far.

    Parameters
    ----------
    config : ExecutorConfig
    url : str
        ``https://`` root of the exchange.
    ws_url : str
        Root of the channels; empty: not known.
    ssl_context : ssl.SSLContext or None
    is_embedded : bool
        The exchange is a paper exchange of our own, started for this examination.
    is_sample : bool
        There are no settings: key and money are made up.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        *,
        url: str,
        ws_url: str,
        ssl_context: ssl.SSLContext | None,
        is_embedded: bool = False,
        is_sample: bool = False,
    ) -> None:
        self.config = config
        self.url = url
        self.ws_url = ws_url
        self.ssl_context = ssl_context
        self.is_embedded = is_embedded
        self.is_sample = is_sample
        self.clock = ServerClock()
        self.mode: VenueMode | None = None
        """The mode that an answer told of."""
        self.address = ""
        """Of the key; empty: the key is no key."""
        self._limits = RateLimits()
        self._account: Account | None = None
        self._transport: OrderTransport | None = None
        self._credentials: ApiCredentials | None = None

    @property
    def timeout_s(self) -> float:
        """Seconds that anything may take."""
        return self.config.post_timeout_s

    @property
    def account(self) -> Account:
        """Who signs for whom; set by the check of the wallets."""
        if self._account is None:
            raise NotPossibleError("needs a key and a wallet that belong together")
        return self._account

    @account.setter
    def account(self, account: Account) -> None:
        self._account = account

    @property
    def transport(self) -> OrderTransport:
        """The open order connection; set by the check of the connection."""
        if self._transport is None:
            raise NotPossibleError("needs a connection to the exchange")
        return self._transport

    @transport.setter
    def transport(self, transport: OrderTransport) -> None:
        self._transport = transport

    @property
    def credentials(self) -> ApiCredentials:
        """API credentials that the exchange takes; set by their check."""
        _ = self.transport
        if self._credentials is None:
            raise NotPossibleError("needs API credentials that the exchange takes")
        return self._credentials

    @credentials.setter
    def credentials(self, credentials: ApiCredentials) -> None:
        self._credentials = credentials

    def need_key(self) -> str:
        """Return the address of the key."""
        if not self.address:
            raise NotPossibleError("needs a private key")
        return self.address

    def client(
        self,
        *,
        credentials: ApiCredentials | None = None,
        signature_type: SignatureType = SignatureType.EOA,
    ) -> ClobClient:
        """Return a client of the exchange; close it."""
        signer = None if credentials is None else L2Signer(self.need_key(), credentials)
        return ClobClient(
            self.url,
            signer=signer,
            signature_type=signature_type,
            chain_id=self.config.chain_id,
            ssl_context=self.ssl_context,
            timeout_s=self.timeout_s,
            now_s=self.clock.now_s,
            limits=self._limits,
        )

    def account_client(self, signature_type: SignatureType | None = None) -> ClobClient:
        """Return a client that asks about the account, or another wallet of its key."""
        kind = self.account.signature_type if signature_type is None else signature_type
        return self.client(credentials=self.credentials, signature_type=kind)

    @contextmanager
    def noting_the_mode(self) -> Iterator[None]:
        """Remember the mode that an answer tells of."""
        try:
            yield
        except VenueModeError as error:
            self.mode = error.mode
            raise

    def name(self, setting: str) -> str:
        """Return what the user calls a setting: a variable, or an argument."""
        sources = self.config.sources
        return sources.get(setting) or (
            VARIABLES[setting][0] if sources or self.is_sample else setting
        )

    def set_to(self, setting: str, value: Any) -> str:
        """Return a setting as the user would write it."""
        return f"{self.name(setting)}={value}"

    def clean(self, text: str) -> str:
        """Return a text without what nobody may see, and on one line.

        Texts of the exchange are shown, and an odd one could send back what it was sent.
        """
        config = self.config
        hidden = [config.private_key, config.api_secret, config.api_passphrase]
        texts = [secret.reveal().removeprefix("0x") for secret in hidden]
        texts.append(config.telegram_bot_token.reveal())
        if self._credentials is not None:
            texts += [self._credentials.secret, self._credentials.passphrase]
        for secret in texts:
            if len(secret) >= _LEAST_SECRET:
                text = text.replace(secret, "***")
        return "".join(char if char.isprintable() else " " for char in text)

    async def close(self) -> None:
        """Close the order connection."""
        if self._transport is not None:
            await self._transport.close()
