"""Which framing one gets."""

import logging

import pytest

from polyexec.clob import http2, pool
from polyexec.clob.h2_framing import H2Client
from polyexec.clob.http2 import new_framing
from polyexec.clob.venue import ClobVenue
from polyexec.core.auth import ApiCredentials
from tests.implementations import COMPILED


def test_the_library_is_there_when_asked_for():
    assert isinstance(new_framing("h2", "host"), H2Client)


@COMPILED
def test_ours_is_there_when_asked_for():
    from polyexec.clob.fast_framing import Http2Client

    assert isinstance(new_framing("fast", "host"), Http2Client)


def test_the_library_stands_in_where_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(http2, "IMPLEMENTATION", "pure")
    assert isinstance(new_framing("fast", "host"), H2Client)


def test_hpack_is_kept_quiet_by_both():
    for name in ("fast", "h2"):
        logging.getLogger("hpack").setLevel(logging.DEBUG)
        new_framing(name, "host")
        assert not logging.getLogger("hpack").isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize("name", ["fast", "h2"])
def test_venue_hands_the_choice_down(name):
    venue = ClobVenue(
        "https://127.0.0.1",
        signer_address="0x" + "1" * 40,
        credentials=ApiCredentials("key", "c2VjcmV0", "phrase"),
        framing=name,
    )
    assert isinstance(venue.transport, pool.OrderTransport)
    assert venue.transport._dialer._framing == name
