"""Checks that ask nobody: settings, key, wallets, switches, limits, this installation."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from polyexec import _impl, _secp256k1
from polyexec.account import build_signer
from polyexec.build import build_info
from polyexec.constants import POLYGON
from polyexec.core.keys import checksum_address, parse_address, parse_private_key
from polyexec.core.wallets import (
    deposit_wallet,
    deposit_wallet_uups,
    proxy_wallet,
    safe_wallet,
)
from polyexec.doctor.case import Account, Case, call_it
from polyexec.doctor.findings import Finding, Verdict, ok, problem, warning
from polyexec.enums import SignatureType
from polyexec.errors import InputError, PolyexecError, SigningError

__all__ = [
    "check_build",
    "check_key",
    "check_limits",
    "check_settings",
    "check_trading",
    "check_wallet",
]

_ADDRESS_DIGITS: Final = 40
_LEAST_WORDS: Final = 12
_LIMITS: Final = ("max_group_cost", "max_daily_cost", "max_open_exposure", "max_legging_loss")
_WALLETS: Final[Mapping[str, tuple[SignatureType, Callable[[str], str]]]] = {
    "eoa": (SignatureType.EOA, lambda address: address),
    "proxy_wallet": (SignatureType.POLY_PROXY, proxy_wallet),
    "safe": (SignatureType.POLY_GNOSIS_SAFE, safe_wallet),
    "deposit_wallet": (SignatureType.POLY_1271, deposit_wallet),
    "deposit_wallet_before_2026_06_29": (SignatureType.POLY_1271, deposit_wallet_uups),
}


def check_settings(case: Case) -> Finding:
    """Say where the settings come from, and which of them contradict each other."""
    config = case.config
    if case.is_sample:
        return ok(
            "settings",
            "there are none: this is the embedded paper exchange with a throwaway key and made-up "
            "money; set PRIVATE_KEY (see .env.example) to examine your own account",
        )
    sources = dict(config.sources)
    if config.executor_mode == "paper" and "clob_url" in sources:
        return warning(
            "settings",
            f"{sources['clob_url']} is ignored: with executor_mode paper orders go to an embedded "
            "paper exchange",
            f"unset one: {sources['clob_url']}, or {case.name('executor_mode')}",
            sources=sources,
        )
    names = ", ".join(sorted(sources.values()))
    where = f"read from {names}" if sources else "given as arguments"
    return ok("settings", where, sources=sources)


def check_trading(case: Case) -> Finding:
    """Say whether a signal would become an order, and where it would go."""
    config = case.config
    figures = {"executor_mode": config.executor_mode, "trading_enabled": config.trading_enabled}
    switch = case.set_to("trading_enabled", "true")
    if config.executor_mode == "off":
        summary = "off: executor_mode is off, so this executor connects to nothing and never trades"
    elif not config.trading_enabled:
        summary = f"off: every signal is skipped as TradingDisabled until {switch}"
    elif case.is_embedded:
        summary = "on, with paper money: orders go to an embedded paper exchange"
    elif config.is_loopback:
        summary = f"on: orders go to {case.url}, a server of this machine"
    else:
        summary = f"on, with real money: orders go to {case.url}"
    return ok("trading", summary, **figures)


def check_limits(case: Case) -> Finding:
    """Say which limits hold outside the strategy."""
    config = case.config
    given = {name: getattr(config, name) for name in _LIMITS}
    held = {name: str(amount) for name, amount in given.items() if amount is not None}
    if held:
        words = ", ".join(f"{name} ${amount}" for name, amount in held.items())
        return ok("limits", words, **held)
    if not config.trading_enabled or config.executor_mode != "live" or config.is_loopback:
        return ok("limits", "none, and no real order can be sent")
    return warning(
        "limits",
        "none: what a faulty strategy can spend is the whole balance",
        f"set {case.name('max_group_cost')} and {case.name('max_daily_cost')}, in dollars",
    )


def check_key(case: Case) -> Finding:
    """Read the private key, sign with it, and recover the signer."""
    config = case.config
    name = case.name("private_key")
    text = config.private_key.reveal()
    if not text:
        return problem("key", f"{name} is not set", "set it to the key of the EOA, 64 hex digits")
    try:
        key = parse_private_key(text)
    except SigningError as error:
        return problem("key", f"{name}: {error}", _key_advice(text))
    address = checksum_address(_secp256k1.public_address(key))
    digest = _impl.keccak256(b"polyexec doctor")
    signature = _secp256k1.sign_digest(key, digest)
    if checksum_address(_secp256k1.recover_address(digest, signature)) != address:
        return problem(
            "key",
            f"a signature of {address} by {_secp256k1.BACKEND} names another signer",
            "reinstall coincurve; if that does not help, report it",
        )
    case.address = address
    if config.signer_address and config.signer_address.lower() != address.lower():
        return problem(
            "key",
            f"{name} is the key of {address}, but {case.name('signer_address')} says "
            f"{config.signer_address}",
            "one of them is of another account: correct it, or unset "
            f"{case.name('signer_address')}, which is only a check",
            address=address,
        )
    if config.presign:
        try:
            _secp256k1.nonce_pool(key, config.presign).close()
        except LookupError as error:
            return problem(
                "key", f"presign={config.presign} cannot be kept: {error}", "set presign=0"
            )
    return ok("key", f"signs as {address}", address=address)


def _key_advice(text: str) -> str:
    digits = text.removeprefix("0x").removeprefix("0X")
    if len(text.split()) >= _LEAST_WORDS:
        return (
            "this looks like a seed phrase: export the private key of the account from the wallet"
        )
    if len(digits) == _ADDRESS_DIGITS:
        return "this looks like an address: the private key has 64 hex digits"
    if text != text.strip("\"' \t"):
        return "take the quotes and blanks away"
    return "export the private key of the EOA from your wallet: 64 hex digits, 0x or not in front"


def check_wallet(case: Case) -> Finding:
    """Compare the funder and the signature type with the wallets that derive from the key."""
    config = case.config
    address = case.need_key()
    funder = config.proxy_address
    if funder:
        try:
            funder = checksum_address(parse_address(funder, case.name("proxy_address")))
        except InputError as error:
            return problem("wallet", str(error), "copy the address from your profile once more")
    finding = _compare(case, address, funder, config.signature_type)
    try:
        # What the check of the key has told of is not told again.
        signer = build_signer(config.replace(presign=0, signer_address=""))
    except PolyexecError as error:
        if finding.verdict is Verdict.PROBLEM:
            return finding
        return problem("wallet", str(error), "correct the settings", **finding.figures)
    case.account = Account(
        address=signer.address, funder=signer.funder, signature_type=signer.signature_type
    )
    return finding


def _compare(case: Case, address: str, funder: str, kind: SignatureType | None) -> Finding:
    if case.config.chain_id != POLYGON:
        return _without_factories(case, address, funder, kind)
    wallets = {name: derive(address) for name, (_, derive) in _WALLETS.items()}
    kinds = {wallets[name]: kind for name, (kind, _) in _WALLETS.items()}
    figures: dict[str, Any] = {**wallets, "funder": funder or None}
    if not funder:
        return _without_funder(case, wallets, kind or SignatureType.EOA, figures)
    real = kinds.get(funder)
    if real is None:
        return _not_of_this_key(case, address, funder, kind, figures)
    figures["signature_type"] = int(real)
    if kind is not None and kind is not real:
        own = next(wallet for wallet, each in kinds.items() if each is kind)
        return problem(
            "wallet",
            f"signature type {int(kind)} signs for {own}, {call_it(kind)} of this key, but the "
            f"funder is {funder}, {call_it(real)}: every order would be refused as an invalid "
            "signature",
            f"set {case.set_to('signature_type', int(real))}, or "
            f"{case.set_to('proxy_address', own)} if the money is there",
            **figures,
        )
    return ok(
        "wallet",
        f"trades the money of {funder}, {call_it(real)} of this key (signature type {int(real)})",
        **figures,
    )


def _without_funder(
    case: Case, wallets: Mapping[str, str], kind: SignatureType, figures: dict[str, Any]
) -> Finding:
    wallet = next(wallet for name, wallet in wallets.items() if _WALLETS[name][0] is kind)
    figures["signature_type"] = int(kind)
    summary = (
        f"trades the money of {wallet}, {call_it(kind)} of this key (signature type {int(kind)})"
    )
    if kind is SignatureType.POLY_1271:
        older = wallets["deposit_wallet_before_2026_06_29"]
        return warning(
            "wallet",
            f"{summary}; accounts from before 2026-06-29 have {older} instead",
            f"name yours: {case.set_to('proxy_address', '0x...')}",
            **figures,
        )
    return ok("wallet", summary, **figures)


def _not_of_this_key(
    case: Case, address: str, funder: str, kind: SignatureType | None, figures: dict[str, Any]
) -> Finding:
    if kind is SignatureType.POLY_1271:
        return warning(
            "wallet",
            f"{funder} is none of the deposit wallets that derive from {address}; whether this key "
            "may sign for it only its contract knows",
            "compare it with the address of your profile",
            **figures,
        )
    return problem(
        "wallet",
        f"{funder} is no wallet of this key: {address} has the proxy wallet "
        f"{figures['proxy_wallet']}, the Safe {figures['safe']}, the deposit wallet "
        f"{figures['deposit_wallet']}",
        f"either {case.name('private_key')} is the key of another account, or "
        f"{case.name('proxy_address')} is not the address of your profile",
        **figures,
    )


def _without_factories(
    case: Case, address: str, funder: str, kind: SignatureType | None
) -> Finding:
    chain = case.config.chain_id
    figures = {"eoa": address, "funder": funder or None}
    if funder and funder != address:
        if kind in (None, SignatureType.EOA):
            return problem(
                "wallet",
                f"{funder} is not the EOA, and the wallets of a key cannot be "
                f"derived on chain {chain}",
                f"say what kind of wallet it is: {case.set_to('signature_type', '1, 2 or 3')}",
                **figures,
            )
        return warning(
            "wallet",
            f"trades the money of {funder}; whether it belongs to {address} cannot be derived on "
            f"chain {chain}",
            "compare it with the address of your profile",
            **figures,
        )
    return ok("wallet", f"trades the money of {address}, the EOA itself", **figures)


def check_build(_: Case | None) -> Finding:
    """Say which compiled parts are in use, and which features of the processor."""
    info = build_info()
    figures = {**info, "implementation": _impl.IMPLEMENTATION, "sha256": _sha256_engine()}
    backend = info["secp256k1"]
    summary = (
        f"polyexec {info['version']}, {info['python']}, {_impl.IMPLEMENTATION} functions, "
        f"secp256k1 by {backend}, SHA-256 by {figures['sha256']}"
    )
    if _impl.IMPLEMENTATION == "pure":
        return warning(
            "build",
            f"{summary}: nothing compiled is in use, so every order takes many times longer",
            "install with a C compiler, and unset POLYEXEC_NO_EXTENSIONS",
            **figures,
        )
    if backend == "eth-keys":
        return warning(
            "build",
            f"{summary}: signatures are made in Python, about 80 times slower",
            "pip install coincurve, or install the system's libsecp256k1",
            **figures,
        )
    return ok("build", summary, **figures)


def _sha256_engine() -> str:
    if _impl.IMPLEMENTATION == "pure":
        return "hashlib"
    from polyexec._fast.hmac_sha256 import sha256_engine  # noqa: PLC0415 - compiled only

    return sha256_engine()
