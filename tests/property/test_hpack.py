"""Our HPACK reads what the ``hpack`` library reads, and refuses what it refuses."""

import pytest
from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError
from hpack.hpack import encode_integer
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.implementations import NOT_BUILT

pytestmark = NOT_BUILT

TEXT = st.binary(max_size=40)
NAMES = st.one_of(
    TEXT, st.sampled_from([b":status", b"content-length", b"server", b"set-cookie", b"x-new"])
)
VALUES = st.one_of(TEXT, st.sampled_from([b"200", b"404", b"", b"gzip, deflate"]))


def ours(block):
    from polyexec._fast.hpack import hpack_decode

    try:
        return hpack_decode(block)
    except ValueError:
        return None


def theirs(block):
    decoder = Decoder()
    decoder.header_table_size = 0
    decoder.max_allowed_table_size = 0
    try:
        return [tuple(field) for field in decoder.decode(block, raw=True)]
    except (HPACKError, IndexError):
        return None


@settings(max_examples=300)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.booleans())
def test_what_an_encoder_writes_is_read(fields, huffman):
    encoder = Encoder()
    encoder.header_table_size = 0
    block = encoder.encode(fields, huffman=huffman)
    assert ours(block) == theirs(block) == fields


@settings(max_examples=500)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_alike(block):
    assert ours(block) == theirs(block)


@settings(max_examples=500)
@given(st.binary(max_size=40), st.sampled_from([0x00, 0x10, 0x40, 0x0F, 0x4F]))
def test_any_huffman_code_is_read_or_refused_alike(code, first):
    name = bytes([first]) + (b"\0" if first in {0x0F} else b"")
    if first in {0x00, 0x10, 0x40}:
        name += b"\x01x"
    block = name + bytes([0x80 | len(code)]) + code
    assert ours(block) == theirs(block)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=4),
    st.integers(0),
    st.binary(max_size=3),
)
def test_bent_block_is_read_or_refused_alike(fields, place, inserted):
    encoder = Encoder()
    encoder.header_table_size = 0
    block = encoder.encode(fields)
    place %= len(block)
    bent = block[:place] + inserted + block[place + 1 :]
    assert ours(bent) == theirs(bent)


def test_every_byte_has_its_huffman_code():
    for byte in range(256):
        fields = [(b"x", bytes([byte]) * 3)]
        assert ours(Encoder().encode(fields, huffman=True)) == fields


def test_every_static_field_is_known():
    for index in range(70):
        block = encode_integer(index, 7)
        block[0] |= 0x80
        assert ours(bytes(block)) == theirs(bytes(block))


@pytest.mark.parametrize("length", [65_536 - 33, 65_536 - 32])
@pytest.mark.parametrize("huffman", [True, False])
def test_list_has_the_same_limit(length, huffman):
    block = Encoder().encode([(b"x", b"0" * length)], huffman=huffman)
    assert (ours(block) is None) is (theirs(block) is None) is (length > 65_536 - 33)


def test_the_limit_of_the_library_is_the_one_we_tell():
    with pytest.raises(OversizedHeaderListError):
        Decoder().decode(Encoder().encode([(b"x", b"0" * 65_536)]))


@pytest.mark.parametrize("bits", range(4, 9))
@pytest.mark.parametrize(
    "value", [0, 1, 14, 15, 16, 30, 126, 127, 128, 254, 255, 300, 16_384, 2**31]
)
def test_integers_are_written_alike(bits, value):
    from polyexec._fast.hpack import hpack_integer

    assert hpack_integer(0, bits, value) == bytes(encode_integer(value, bits))
