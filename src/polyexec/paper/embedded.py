"""The exchange with its server and its certificate: what users start."""

import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError

from polyexec.core.auth import ApiCredentials
from polyexec.enums import Generation, Side, SignatureType, VenueMode
from polyexec.errors import InputError, InternalError, UsageError
from polyexec.numbers import MICRO, Number, from_micro, to_micro, to_price_e4
from polyexec.paper.book import PaperMarket, price_text
from polyexec.paper.channels import Channels
from polyexec.paper.conditions import Conditions, parse_whole_ms
from polyexec.paper.errors import Refused
from polyexec.paper.exchange import Exchange, MarketMessage
from polyexec.paper.http import Held, OnRequest, Request, Response
from polyexec.paper.ids import condition_id_of, parse_address, parse_condition_id, token_ids_of
from polyexec.paper.liquidity import RecordedBooks
from polyexec.paper.listings import Listing
from polyexec.paper.matching import MatchingEngine
from polyexec.paper.routes import Router
from polyexec.paper.server import Server
from polyexec.paper.signatures import CONTRACTS
from polyexec.parsing import (
    parse_generation,
    parse_rate_micro,
    parse_side,
    parse_tick_e4,
    parse_token_id,
)

if TYPE_CHECKING:
    from trustme import CA

__all__ = ["PaperExchange"]

_HOST = "127.0.0.1"
_LONGEST_DELAY_MS = 60_000
Levels = Iterable[tuple[Number, Number]]


class PaperExchange:
    """An exchange on this machine that speaks, checks and answers like the real one.

    Use it as an async context manager, or call :meth:`start` and :meth:`close`. Books, balances
    and markets can be prepared before it starts. Everything runs on the loop that started it; the
    methods are not for other threads.

    Parameters
    ----------
    chain_id : int
        137 or 80002: which contracts orders must be signed for.
    clock : callable, optional
        Unix time in milliseconds, for everything the exchange stamps or compares.
    auth_window_s : int
        How far the timestamp of a request may be from that clock, either way.
    settle_at_once : bool
        Trades are CONFIRMED when matched. Otherwise call ``exchange.engine.settle(trade)`` or
        ``.fail(trade)``, before that perhaps ``.mine(trade)`` and ``.retry(trade)``.
    port : int
        0: any free one.
    conditions : Conditions, optional
        Refusals, settlement times and failures, by a seed; none by default. With times it needs
        the running loop.

    Attributes
    ----------
    channels : Channels
        The WebSocket channels at :attr:`ws_url`, and the faults that they can have.

    Notes
    -----
    Markets have two tokens and one book; a seeded bid of one token is an ask of the other. The
    seeded orders belong to a house account whose money and shares are without limit but counted:
    :meth:`audit` proves that nothing was created or lost. The wallets of signature types 1 to 3
    belong to whoever :meth:`deposit` names as ``owner``, otherwise to the first who trades from
    them with a good signature.
    """

    def __init__(
        self,
        *,
        chain_id: int = 137,
        clock: Callable[[], int] | None = None,
        auth_window_s: int = 30,
        settle_at_once: bool = True,
        port: int = 0,
        conditions: Conditions | None = None,
    ) -> None:
        if chain_id not in CONTRACTS:
            raise InputError("chain_id", chain_id, "must be 137 or 80002")
        self._exchange = Exchange(
            chain_id=chain_id,
            clock=clock or _now_ms,
            auth_window_s=auth_window_s,
            settle_at_once=settle_at_once,
            conditions=conditions,
        )
        self.chain_id = chain_id
        self._router = Router(self._exchange)
        self.channels = Channels(self._exchange)
        self._server = Server(self._router.begin, open_session=self.channels.open_session)
        self._wanted_port = port
        self._port = 0

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Listen on loopback."""
        if self._port:
            raise UsageError("the paper exchange runs already")
        context = self._server_context()
        self._port = await self._server.start(_HOST, self._wanted_port, context)
        return self

    async def close(self) -> None:
        """Stop listening and drop every connection. The state stays readable."""
        self._exchange.timers.cancel()
        await self._server.close()
        self._port = 0

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        if not self._port:
            raise UsageError("the paper exchange is not running: start() it first")
        return f"https://{_HOST}:{self._port}"

    @property
    def ws_url(self) -> str:
        """Root of the WebSocket channels: ``/market`` and ``/user`` follow."""
        return f"wss{self.url.removeprefix('https')}/ws"

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """A client context that trusts this exchange and nobody else."""
        context = ssl.create_default_context(cadata=self.ca_pem)
        context.set_alpn_protocols(["h2"])
        return context

    @property
    def ca_pem(self) -> str:
        """The certificate to trust, as PEM text."""
        return self._authority.cert_pem.bytes().decode("ascii")

    def write_ca(self, path: str | Path) -> Path:
        """Write that certificate to a file, for clients that read ``SSL_CERT_FILE``."""
        path = Path(path)
        path.write_text(self.ca_pem, encoding="ascii")
        return path

    @cached_property
    def _authority(self) -> "CA":
        # Made when somebody needs it: what runs in this process does not, and making
        # certificates loads half of the cryptography package.
        import trustme  # noqa: PLC0415

        return trustme.CA()

    def _server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._authority.issue_cert(_HOST, "localhost").configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    @property
    def engine(self) -> MatchingEngine:
        """The matching engine: books, orders, trades, ledger."""
        return self._exchange.engine

    @property
    def request_count(self) -> int:
        """Complete requests received."""
        return self._server.request_count

    @property
    def on_request(self) -> OnRequest | None:
        """Async hook before each request is handled; see :class:`~polyexec.paper.http.Fault`."""
        return self._server.on_request

    @on_request.setter
    def on_request(self, hook: OnRequest | None) -> None:
        self._server.on_request = hook

    @property
    def conditions(self) -> Conditions:
        """What it does to orders besides matching them."""
        return self._exchange.conditions

    def handle(self, request: Request) -> Response:
        """Answer a request without the wire, exactly as the server does, but without delay."""
        return self._router.handle(request)

    def begin(self, request: Request) -> Response | Held:
        """The same; of orders that their market holds, the answer can only be had later."""
        return self._router.begin(request)

    # --- availability -------------------------------------------------------------------------

    @property
    def mode(self) -> VenueMode:
        """What it accepts now; :meth:`set_mode` and :meth:`restart` change it."""
        return self._exchange.modes.mode

    def set_mode(self, mode: VenueMode | str) -> None:
        """Accept only what this mode does, until told otherwise."""
        try:
            self._exchange.modes.set(VenueMode(mode))
        except ValueError:
            raise InputError("mode", mode, f"must be one of {', '.join(VenueMode)}") from None

    def restart(self, *, down_s: float = 60, post_only_s: float = 120) -> None:
        """Refuse everything about orders with 425, then take post-only orders, then all again."""
        for name, seconds in (("down_s", down_s), ("post_only_s", post_only_s)):
            if not 0 <= seconds <= 86_400:
                raise InputError(name, seconds, "must be seconds from 0 to 86400")
        self._exchange.modes.restart(round(down_s * 1000), round(post_only_s * 1000))

    def set_rate_limits(
        self, *, orders: tuple[int, int], cancels: tuple[int, int], tier: str = ""
    ) -> None:
        """Limit every signer: (rate per second, burst) of orders and of cancelled ids.

        By default no test reaches them. ``tier`` is what the answers call it.
        """
        self._exchange.limits.set(orders=orders, cancels=cancels, tier=tier)

    # --- accounts -----------------------------------------------------------------------------

    def credentials(self, private_key: str | bytes, *, nonce: int = 0) -> ApiCredentials:
        """Return the API credentials of a key, made on first use, without a request."""
        address = _address_of(private_key)
        try:
            key = self._exchange.accounts.derive(address, nonce)
        except Refused:
            key = self._exchange.create_key(address, nonce)
        return ApiCredentials(api_key=key.api_key, secret=key.secret, passphrase=key.passphrase)

    def deposit(
        self,
        address: str,
        amount: Number,
        *,
        owner: str | None = None,
        signature_type: SignatureType = SignatureType.POLY_GNOSIS_SAFE,
    ) -> None:
        """Give an account money from outside.

        ``owner`` says that ``address`` is the wallet which this EOA uses with ``signature_type``;
        ``/balance-allowance`` can then find it before its first order.
        """
        account = parse_address(address, "address")
        self.engine.ledger.deposit(account, to_micro(amount, "amount"))
        if owner is not None:
            self._exchange.wallets.register(
                account, parse_address(owner, "owner"), SignatureType(signature_type)
            )

    def set_position(self, address: str, token_id: str | int, shares: Number) -> None:
        """Let an account hold exactly so many shares; the house gives or takes the difference."""
        account = parse_address(address, "address")
        token_id = self._token(token_id)
        self.engine.ledger.set_position(account, token_id, to_micro(shares, "shares"))

    def balance(self, address: str) -> Decimal:
        """Return an account's money; open orders are not subtracted."""
        return from_micro(self.engine.ledger.balance(parse_address(address, "address")))

    def position(self, address: str, token_id: str | int) -> Decimal:
        """Return the shares an account holds."""
        account = parse_address(address, "address")
        return from_micro(self.engine.ledger.balance(account, self._token(token_id)))

    @property
    def rebates_paid(self) -> Decimal:
        """What makers got of the taker fees, in dollars; :attr:`fees_collected` is without it."""
        return from_micro(self.engine.ledger.rebates_micro)

    @property
    def fees_collected(self) -> Decimal:
        """Taker fees of every settled trade, in dollars."""
        return from_micro(self.fees_collected_micro)

    @property
    def fees_collected_micro(self) -> int:
        """The same in micro-units."""
        return self.engine.ledger.fees_micro

    def audit(self) -> None:
        """Raise ``InternalError`` when money or shares were created or lost."""
        self.engine.ledger.audit()

    def is_conserved(self) -> bool:
        """Return whether :meth:`audit` has nothing to complain about."""
        try:
            self.audit()
        except InternalError:
            return False
        return True

    # --- markets ------------------------------------------------------------------------------

    def add_market(
        self,
        slug: str = "",
        *,
        condition_id: str | None = None,
        tokens: Sequence[str | int] | None = None,
        outcomes: tuple[str, str] = ("Yes", "No"),
        tick_size: Number = "0.01",
        neg_risk: bool = False,
        generation: Generation | int | str = Generation.CLOB_V2,
        fee_rate: Number = 0,
        fee_exponent: int = 1,
        min_order_size: Number = 5,
        delay_ms: int | None = None,
        is_deferred: bool = False,
        maker_rebate: Number | None = None,
    ) -> PaperMarket:
        """Open a market. Ids that are not given follow from slug and generation, repeatably.

        An order that would trade at once is held for ``delay_ms`` before it is matched, with the
        book of then; its POST is answered after that or, ``is_deferred``, at once as ``delayed``.
        ``maker_rebate`` is the share of the taker fee that goes to the makers. What is None is as
        the conditions say.
        """
        generation = parse_generation(generation)
        slug = slug or f"market-{len(self.engine.markets) + 1}"
        if condition_id is None:
            condition_id = condition_id_of(slug, generation, neg_risk=neg_risk)
        condition_id = parse_condition_id(condition_id)
        if tokens is None:
            tokens = token_ids_of(condition_id, generation)
        if len(tokens) != 2:
            raise InputError("tokens", tokens, "a market has two tokens")
        first, second = (parse_token_id(token_id, "tokens") for token_id in tokens)
        for token_id in (first, second):
            if token_id in self.engine.tokens or first == second:
                raise InputError("tokens", token_id, "stands in the exchange already")
        if condition_id in self.engine.markets:
            raise InputError("condition_id", condition_id, "stands in the exchange already")
        if isinstance(fee_exponent, bool) or fee_exponent not in range(5):
            raise InputError("fee_exponent", fee_exponent, "must be a whole number from 0 to 4")
        delay_ms = self.conditions.delay_ms if delay_ms is None else delay_ms
        rebate = self.conditions.maker_rebate if maker_rebate is None else maker_rebate
        market = PaperMarket(
            condition_id=condition_id,
            token_ids=(first, second),
            slug=slug,
            tick_e4=parse_tick_e4(tick_size),
            neg_risk=neg_risk,
            generation=generation,
            fee_rate_micro=parse_rate_micro(fee_rate),
            fee_exponent=fee_exponent,
            min_order_size_micro=to_micro(min_order_size, "min_order_size"),
            outcomes=outcomes,
            delay_ms=parse_whole_ms(delay_ms, "delay_ms", most=_LONGEST_DELAY_MS),
            is_deferred=is_deferred,
            rebate_micro=parse_rate_micro(rebate, "maker_rebate"),
        )
        self._exchange.add_market(market)
        return market

    def list_market(self, market: PaperMarket, listing: Listing) -> None:
        """Show a market in the metadata (``/events``, ``/markets``); again: with other words."""
        self._exchange.listings.put(market, listing)

    def market(self, token_id: str | int) -> PaperMarket:
        """Return the market of a token."""
        return self.engine.tokens[self._token(token_id)][0]

    def set_tick_size(self, token_id: str | int, tick_size: Number) -> None:
        """Change a market's tick while it trades; subscribers get ``tick_size_change``."""
        self._exchange.set_tick(self.market(token_id), parse_tick_e4(tick_size))

    def resolve(self, token_id: str | int, pays: Number) -> None:
        """End the market of a token, of which a share is worth ``pays`` dollars: 1, 0 or 0.5.

        The other token is worth the rest of a dollar. Open orders are cancelled, matched trades
        settle, new orders are refused; :meth:`redeem` turns shares into money.

        Raises
        ------
        UsageError
            It is resolved already.
        """
        market = self.market(token_id)
        micro = parse_rate_micro(pays, "pays")
        is_first = market.token_ids[0] == self._token(token_id)
        self._exchange.resolve(
            market, (micro, MICRO - micro) if is_first else (MICRO - micro, micro)
        )

    def redeem(self, token_id: str | int, address: str | None = None) -> Decimal:
        """Turn the shares of a resolved market into money; return how much was paid.

        ``address`` None: the shares of everybody, the house included. Per token, what is less
        than a micro-dollar is not paid.

        Raises
        ------
        UsageError
            The market is not resolved.
        """
        market, ledger = self.market(token_id), self.engine.ledger
        if market.pays_micro is None:
            raise UsageError(f"market {market.slug} is not resolved: resolve() it first")
        who = ledger.holders(market) if address is None else [parse_address(address, "address")]
        return from_micro(sum(ledger.redeem(account, market) for account in who))

    def recorded_books(self, before_look: Callable[[str], object]) -> RecordedBooks:
        """Return what lays recorded books over this exchange, queue and own impact included.

        ``before_look`` is called with a token before an order or a question looks at its book; it
        lays that book, so that books which nobody looks at cost nothing.
        """
        self._exchange.before_look = before_look
        return RecordedBooks(self._exchange, queue=self._exchange.conditions.queue)

    def seed_book(self, token_id: str | int, *, bids: Levels = (), asks: Levels = ()) -> None:
        """Add the house's resting orders: ``(price, shares)``, dollars per share.

        They trade with the orders of accounts that they cross, and must not cross each other or
        what the house offers already, on either token: both tokens share one book.
        """
        token_id = self._token(token_id)
        levels = self._levels(token_id, bids, asks)
        for side, price_e4, _ in levels:
            self._exchange.check_house(token_id, side, price_e4)
        for side, price_e4, shares_micro in levels:
            self._exchange.set_level(token_id, side, price_e4, shares_micro, add=True)

    def set_book(self, token_id: str | int, *, bids: Levels = (), asks: Levels = ()) -> None:
        """Let the house offer exactly these levels; what stays the same keeps its place."""
        token_id = self._token(token_id)
        levels = self._levels(token_id, bids, asks)
        wanted = {(side, price) for side, price, _ in levels}
        for side, price_e4 in self._exchange.house_levels(token_id):
            if (side, price_e4) not in wanted:
                self._exchange.set_level(token_id, side, price_e4, 0)
        for side, price_e4, shares_micro in levels:
            self._exchange.set_level(token_id, side, price_e4, shares_micro)

    def set_level(
        self, token_id: str | int, side: Side | str, price: Number, shares: Number
    ) -> None:
        """Let the house offer exactly so many shares at a price; 0 takes its offer away."""
        token_id, side = self._token(token_id), parse_side(side)
        price_e4, shares_micro = self._price(token_id, price), to_micro(shares, "shares")
        self._exchange.check_house(token_id, side, price_e4)
        self._exchange.set_level(token_id, side, price_e4, shares_micro)

    def clear_book(self, token_id: str | int) -> None:
        """Take every order of the house out of a market; the accounts' orders stay."""
        self._exchange.clear_house(self.market(token_id))

    def subscribe(self, callback: Callable[[MarketMessage], None]) -> Callable[[], None]:
        """Get every market-channel message (``book``, ``price_change``, ...) as a dict.

        First the ``book`` of every token there is; those of new markets follow when they open.
        Called synchronously, in order, while the book changes; a callback must not place orders.
        Returns the function that ends it.
        """
        return self._exchange.subscribe(callback)

    def snapshot(self, token_id: str | int) -> MarketMessage:
        """Return the ``book`` message that a new subscriber of a token would get."""
        return self._exchange.snapshot(self._token(token_id))

    def _token(self, token_id: str | int) -> str:
        text = parse_token_id(token_id)
        if text not in self.engine.tokens:
            raise InputError("token_id", token_id, "is no token of this exchange: add_market first")
        return text

    def _price(self, token_id: str, price: Number) -> int:
        price_e4 = to_price_e4(price, "price")
        tick_e4 = self.market(token_id).tick_e4
        if price_e4 % tick_e4:
            raise InputError("price", price, f"is not on the tick of {price_text(tick_e4)}")
        return price_e4

    def _levels(self, token_id: str, bids: Levels, asks: Levels) -> list[tuple[Side, int, int]]:
        # Everything is checked before anything is placed.
        levels = [
            (side, self._price(token_id, price), to_micro(size, "size"))
            for side, ladder in ((Side.BUY, bids), (Side.SELL, asks))
            for price, size in ladder
        ]
        best_bid = max((price for side, price, _ in levels if side is Side.BUY), default=0)
        for side, price, _ in levels:
            if side is Side.SELL and price <= best_bid:
                raise InputError("asks", price_text(price), "crosses the best bid given with it")
        return levels

    def __repr__(self) -> str:
        where = self.url if self._port else "not running"
        return f"PaperExchange({where}, {len(self.engine.markets)} markets)"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _address_of(private_key: str | bytes) -> str:
    # The key itself must not end up in the message.
    try:
        raw = (
            private_key
            if isinstance(private_key, bytes)
            else bytes.fromhex(private_key.removeprefix("0x"))
        )
        return PrivateKey(raw).public_key.to_address()
    except (ValueError, ValidationError, TypeError, AttributeError):
        raise InputError("private_key", "<redacted>", "must be 32 bytes of hex") from None
