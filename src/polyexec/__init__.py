"""Execution library for Polymarket bots: one call from signal to orders and their true outcome.

>>> result = await executor.submit(signal)

Importing it starts nothing: no thread, no loop policy, no file, no connection. ``polyexec.paper``
is loaded when it is first used.
"""

from polyexec import backtest, paper, sync
from polyexec.attending import Attendants, attend
from polyexec.build import build_info
from polyexec.clob.client import ClobClient
from polyexec.clob.gamma import GammaClient
from polyexec.clob.user_channel import ChannelCounts, UserChannel, UserEvents
from polyexec.clob.venue import ClobVenue
from polyexec.clocks import SystemClock
from polyexec.config import ExecutorConfig, Secret
from polyexec.core.amounts import apply_slippage, limit_amounts, market_amounts, taker_fee
from polyexec.core.auth import ApiCredentials, l1_headers, l2_signature
from polyexec.core.forms import Form, FormLeg
from polyexec.core.orders import Amounts, Order, SignedOrder, encode_order, encode_orders
from polyexec.core.ports import (
    Answer,
    BalanceSnapshot,
    Clock,
    Fill,
    GuardedVenue,
    LookupVenue,
    NoAnswer,
    OrderBatch,
    OrderStatus,
    Venue,
)
from polyexec.core.signer import OrderSigner
from polyexec.core.tracking import OrderUpdate
from polyexec.core.venue_mode import VenueModeChange
from polyexec.core.wallets import deposit_wallet, proxy_wallet, safe_wallet
from polyexec.engine.engine import Engine, EngineCounts
from polyexec.engine.following import FeedCounts, FeedSettings
from polyexec.engine.groups import GroupBook, GroupChange
from polyexec.enums import (
    Generation,
    GroupStep,
    LegState,
    NoticeKind,
    OrderType,
    RejectCode,
    SentState,
    Settlement,
    Side,
    SignatureType,
    SkipReason,
    Strategy,
    VenueMode,
)
from polyexec.errors import (
    AuthError,
    ConfigError,
    InputError,
    InternalError,
    JournalError,
    NotSentError,
    OutcomeUnknownError,
    PolyexecError,
    RateLimitedError,
    SigningError,
    StoreError,
    TransportError,
    UnexpectedResponseError,
    UsageError,
    VenueError,
    VenueModeError,
)
from polyexec.executor import Executor
from polyexec.models import ConditionId, Leg, Market, OrderId, Quote, TokenId, TopOfBook
from polyexec.policies import GroupPolicy, RiskLimits
from polyexec.reconciliation import Reconciliation
from polyexec.results import Latency, LegResult, TradeResult
from polyexec.signal_json import decode_signal, encode_signal
from polyexec.signals import ArbSignal, LegsSignal, Signal
from polyexec.submission import Submission

__all__ = [
    "Amounts",
    "Answer",
    "ApiCredentials",
    "ArbSignal",
    "Attendants",
    "AuthError",
    "BalanceSnapshot",
    "ChannelCounts",
    "ClobClient",
    "ClobVenue",
    "Clock",
    "ConditionId",
    "ConfigError",
    "Engine",
    "EngineCounts",
    "Executor",
    "ExecutorConfig",
    "FeedCounts",
    "FeedSettings",
    "Fill",
    "Form",
    "FormLeg",
    "GammaClient",
    "Generation",
    "GroupBook",
    "GroupChange",
    "GroupPolicy",
    "GroupStep",
    "GuardedVenue",
    "InputError",
    "InternalError",
    "JournalError",
    "Latency",
    "Leg",
    "LegResult",
    "LegState",
    "LegsSignal",
    "LookupVenue",
    "Market",
    "NoAnswer",
    "NotSentError",
    "NoticeKind",
    "Order",
    "OrderBatch",
    "OrderId",
    "OrderSigner",
    "OrderStatus",
    "OrderType",
    "OrderUpdate",
    "OutcomeUnknownError",
    "PolyexecError",
    "Quote",
    "RateLimitedError",
    "Reconciliation",
    "RejectCode",
    "RiskLimits",
    "Secret",
    "SentState",
    "Settlement",
    "Side",
    "Signal",
    "SignatureType",
    "SignedOrder",
    "SigningError",
    "SkipReason",
    "StoreError",
    "Strategy",
    "Submission",
    "SystemClock",
    "TokenId",
    "TopOfBook",
    "TradeResult",
    "TransportError",
    "UnexpectedResponseError",
    "UsageError",
    "UserChannel",
    "UserEvents",
    "Venue",
    "VenueError",
    "VenueMode",
    "VenueModeChange",
    "VenueModeError",
    "apply_slippage",
    "attend",
    "backtest",
    "build_info",
    "decode_signal",
    "deposit_wallet",
    "encode_order",
    "encode_orders",
    "encode_signal",
    "l1_headers",
    "l2_signature",
    "limit_amounts",
    "market_amounts",
    "paper",
    "proxy_wallet",
    "safe_wallet",
    "sync",
    "taker_fee",
]
