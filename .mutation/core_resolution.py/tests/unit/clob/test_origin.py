"""The one host, and the trust on the way there."""

import ssl

import pytest

from polyexec.clob.origin import default_ssl_context, parse_origin
from polyexec.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://clob.polymarket.com", "clob.polymarket.com"),
        ("https://clob.polymarket.com/", "clob.polymarket.com"),
        ("https://CLOB.polymarket.com:443", "clob.polymarket.com"),
        ("https://127.0.0.1:8443", "127.0.0.1:8443"),
        ("https://[::1]:8443", "[::1]:8443"),
    ],
)
def test_host_and_port_are_read(url, authority):
    origin = parse_origin(url)
    assert origin.authority == authority
    assert origin.url == f"https://{authority}"


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "host",
        "",
        "https://",
        "https://u:secret@host",
        "https://u@host",
        "https://host/x",
        "https://host?x=1",
        "https://host#x",
        "https://host:0x1",
        "https://[::1",
        "https://ho st",
    ],
)
def test_anything_else_is_refused_without_quoting_it(url):
    with pytest.raises(ConfigError) as caught:
        parse_origin(url)
    assert "secret" not in str(caught.value)


def test_default_context_verifies_and_keeps_no_key_log(monkeypatch, tmp_path):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = default_ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.keylog_filename is None
