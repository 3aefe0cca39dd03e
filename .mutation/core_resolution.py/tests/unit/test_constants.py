import re
from pathlib import Path

from polyexec import constants
from polyexec._impl import keccak256
from polyexec.core.keys import checksum_address


def test_every_address_has_its_checksum() -> None:
    found = re.findall(r"0x[0-9a-fA-F]{40}\b", Path(constants.__file__).read_text())
    assert len(found) > 25
    for address in found:
        assert address == checksum_address(bytes.fromhex(address[2:]))


def test_proxy_init_code_hash_is_of_the_minimal_proxy_for_its_addresses() -> None:
    code = (
        "3d3d606380380380913d393d73"
        + constants.PROXY_FACTORY[2:]
        + "5af4602a57600080fd5b602d8060366000396000f3363d3d373d3d3d363d73"
        + constants.PROXY_IMPLEMENTATION[2:]
        + "5af43d82803e903d91602b57fd5bf352e831dd"
        + f"{32:064x}"
        + f"{0:064x}"
    )
    assert "0x" + keccak256(bytes.fromhex(code)).hex() == constants.PROXY_INIT_CODE_HASH


def test_every_name_is_exported_once() -> None:
    public = {name for name in vars(constants) if name.isupper()}
    assert public == set(constants.__all__)
