"""Checks of the way to the exchange: name, TCP, TLS, HTTP/2, latency, clock, version."""

import asyncio
import socket
import ssl
import time
from typing import Any, Final

from polyexec.clob.origin import default_ssl_context
from polyexec.clob.pool import OrderTransport
from polyexec.core.ports import NoAnswer
from polyexec.doctor.case import Case
from polyexec.doctor.findings import Finding, NotPossibleError, ok, problem, warning
from polyexec.errors import NotSentError

__all__ = ["check_clock", "check_connection", "check_latency", "check_version"]

_REQUESTS: Final = 20
_KNOWN_VERSIONS: Final = (2,)
_ORDER_VERSIONS: Final = ", ".join(map(str, _KNOWN_VERSIONS))
_TLS_ADVICE: Final = (
    "something in between may open TLS, a company's proxy or a virus scanner; if you trust it, "
    "name its authority in SSL_CERT_FILE or pass ssl_context"
)


async def check_connection(case: Case) -> Finding:
    """Look the name up, connect, shake hands, and open the order connection that an executor has.

    What each step takes is measured once, on a connection of its own.
    """
    if case.config.executor_mode == "off":
        raise NotPossibleError("executor_mode is off, which connects to nothing")
    transport = OrderTransport(
        case.url,
        ssl_context=case.ssl_context,
        timeout_s=case.timeout_s,
        connect_timeout_s=case.timeout_s,
        warm_path="/time",
        framing=case.config.http2,
    )
    origin = transport.origin
    steps = _Steps(origin.host, origin.port, case.ssl_context, case.timeout_s)
    try:
        # The system's look-up ignores time-outs, so the thread may outlive this.
        async with asyncio.timeout(3 * case.timeout_s):
            await asyncio.to_thread(steps.take)
    except TimeoutError:
        steps.fault = f"{steps.name} of {origin.authority} took too long"
    if steps.fault:
        advice = steps.advice(case.name("clob_url"))
        return problem("connection", steps.fault, advice, **steps.took_ms)
    try:
        await transport.open()
    except NotSentError as error:
        return problem(
            "connection", str(error), "is this a CLOB? It has to speak HTTP/2", **steps.took_ms
        )
    case.transport = transport
    took = ", ".join(
        f"{name.removesuffix('_ms').upper()} {ms} ms" for name, ms in steps.took_ms.items()
    )
    return ok("connection", f"{origin.authority} speaks HTTP/2: {took}", **steps.took_ms)


class _Steps:
    """The steps of a connection, taken one after the other in a thread; the clock is stopped."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext | None, timeout_s: float
    ) -> None:
        self.name = "the look-up"
        self.fault = ""
        self.took_ms: dict[str, float] = {}
        self._host = host
        self._port = port
        self._context = context
        self._timeout_s = timeout_s

    def take(self) -> None:
        where = f"{self._host}:{self._port}"
        try:
            self._take()
        except socket.gaierror as error:
            self.fault = f"the name {self._host} cannot be looked up: {error.strerror}"
        except ssl.SSLCertVerificationError as error:
            self.fault = f"the certificate of {where} is not trusted: {error.verify_message}"
        except ssl.SSLError as error:
            self.fault = f"TLS with {where} failed: {error.reason or type(error).__name__}"
        except TimeoutError:
            self.fault = f"{self.name} of {where} took more than {self._timeout_s:g} s"
        except (OSError, UnicodeError) as error:
            text = getattr(error, "strerror", None) or type(error).__name__
            self.fault = f"cannot connect to {where}: {text}"

    def _take(self) -> None:
        started = time.perf_counter()
        addresses = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        started = self._note("dns_ms", started)
        self.name = "the TCP connection"
        plain = self._connect(addresses)
        with plain:
            started = self._note("tcp_ms", started)
            self.name = "the TLS handshake"
            context = default_ssl_context() if self._context is None else self._context
            context.set_alpn_protocols(["h2"])
            with context.wrap_socket(plain, server_hostname=self._host) as tls:
                self._note("tls_ms", started)
                if tls.selected_alpn_protocol() != "h2":
                    self.fault = f"{self._host}:{self._port} does not speak HTTP/2"

    def _connect(self, addresses: list[Any]) -> socket.socket:
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in addresses:
            plain = socket.socket(family, kind, protocol)
            plain.settimeout(self._timeout_s)
            try:
                plain.connect(address)
            except OSError as error:
                plain.close()
                failure = error
            else:
                return plain
        raise failure

    def _note(self, name: str, started: float) -> float:
        now = time.perf_counter()
        self.took_ms[name] = round((now - started) * 1000, 2)
        return now

    def advice(self, setting: str) -> str:
        if "certificate" in self.fault or self.fault.startswith("TLS"):
            return _TLS_ADVICE
        if "HTTP/2" in self.fault:
            return f"a proxy in between may not pass it on; connect without one, or check {setting}"
        if "looked up" in self.fault:
            return f"check {setting}, the network and its name server"
        return f"check {setting}, the network and its firewall"


async def check_latency(case: Case) -> Finding:
    """Time requests on the warm order connection, and learn the exchange's clock from them."""
    transport = case.transport
    took: list[float] = []
    for _ in range(_REQUESTS):
        sent_s, started = time.time(), time.perf_counter()
        outcome = await transport.request("GET", "/time", {})
        if isinstance(outcome, NoAnswer):
            return problem(
                "latency",
                f"request {len(took) + 1} got no answer: {outcome.error}",
                "look at the network; an order in its place would be of unknown outcome",
                answered=len(took),
            )
        took.append((time.perf_counter() - started) * 1000)
        case.clock.observe(outcome, sent_s, time.time())
    took.sort()
    median, p95 = (round(took[-(-len(took) * part // 100) - 1], 2) for part in (50, 95))
    return ok(
        "latency",
        f"GET /time takes {median} ms (median of {_REQUESTS}), p95 {p95} ms",
        median_ms=median,
        p95_ms=p95,
        requests=_REQUESTS,
    )


async def check_clock(case: Case) -> Finding:
    """Compare our clock with the exchange's."""
    _ = case.transport
    bounds = case.clock.bounds_s
    if bounds is None:
        return warning(
            "clock",
            "not known: no answer of the exchange tells its time",
            "check that the clock of this machine is synchronised",
        )
    low, high = (round(bound, 2) for bound in bounds)
    figures = {"least_offset_s": low, "greatest_offset_s": high}
    if not case.clock.is_off:
        return ok("clock", "agrees with the exchange's to the second", **figures)
    ahead, other = ("behind", low) if low > 0 else ("ahead of", -high)
    return problem(
        "clock",
        f"this machine's is at least {other:g} s {ahead} the exchange's: signed requests may be "
        "refused with 401",
        "synchronise it: timedatectl set-ntp true, or chronyc makestep",
        **figures,
    )


async def check_version(case: Case) -> Finding:
    """Ask which orders the exchange takes."""
    _ = case.transport
    async with case.client() as client:
        with case.noting_the_mode():
            version = await client.version()
    if version in _KNOWN_VERSIONS:
        return ok("version", f"the exchange takes orders of version {version}", version=version)
    return problem(
        "version",
        f"the exchange takes orders of version {version}, this polyexec writes {_ORDER_VERSIONS}",
        "update polyexec before you trade",
        version=version,
    )
