"""The certificates that a server can show: one that is right, and those that never may be taken."""

import datetime as dt
import ssl
import tempfile
from collections.abc import Callable
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
HERE = "127.0.0.1"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """One that signs certificates."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        self.certificate = self._builder(self.name, self.key, NOW - DAY, NOW + 30 * DAY).sign(
            self.key, hashes.SHA256()
        )

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        start: dt.datetime,
        end: dt.datetime,
    ) -> x509.CertificateBuilder:
        is_authority = subject == self.name
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )

    def context(
        self,
        *,
        host: str = HERE,
        start: dt.datetime = NOW - DAY,
        end: dt.datetime = NOW + DAY,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    ) -> ssl.SSLContext:
        """Return a server context that shows a certificate of this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            names: list[x509.GeneralName] = [x509.IPAddress(ip_address(host))]
        except ValueError:
            names = [x509.DNSName(host)]
        certificate = (
            self._builder(_name("server"), key, start, end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return server_context(key, certificate)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def server_context(
    key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> ssl.SSLContext:
    """Return a context of a server that shows this certificate and offers HTTP/2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        path.write_bytes(pem)
        context.load_cert_chain(path)
    context.set_alpn_protocols(["h2"])
    return context


@cache
def trusted() -> Authority:
    """Return the one authority that the client trusts."""
    return Authority("trusted")


def client_context() -> ssl.SSLContext:
    """Return what the client gets: the one authority, and everything verified."""
    return ssl.create_default_context(cadata=trusted().pem().decode())


def _with(context: ssl.SSLContext, protocols: list[str]) -> ssl.SSLContext:
    context.set_alpn_protocols(protocols)
    return context


def _old_tls() -> ssl.SSLContext:
    context = trusted().context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def _self_signed() -> ssl.SSLContext:
    stranger = Authority("self-signed")
    return server_context(stranger.key, stranger.certificate)


CONTEXTS: dict[str, Callable[[], ssl.SSLContext]] = {
    "good": lambda: trusted().context(),
    "tls-1.2": _old_tls,
    "wrong-name": lambda: trusted().context(host="exchange.example"),
    "wrong-address": lambda: trusted().context(host="127.0.0.2"),
    "expired": lambda: trusted().context(start=NOW - 9 * DAY, end=NOW - DAY),
    "not-yet-valid": lambda: trusted().context(start=NOW + DAY, end=NOW + 9 * DAY),
    "not-for-servers": lambda: trusted().context(usage=ExtendedKeyUsageOID.CLIENT_AUTH),
    "unknown-authority": lambda: Authority("unknown").context(),
    # Another key under the name of the trusted authority.
    "namesake-authority": lambda: Authority("trusted").context(),
    "self-signed": _self_signed,
    "no-alpn": lambda: _with(trusted().context(), []),
    "only-http-1.1": lambda: _with(trusted().context(), ["http/1.1"]),
}


@cache
def context(name: str) -> ssl.SSLContext:
    """Return one of ``CONTEXTS``, made once."""
    return CONTEXTS[name]()
