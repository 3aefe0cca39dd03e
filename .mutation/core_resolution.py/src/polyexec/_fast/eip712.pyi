from polyexec._pure.type_strings import DEPOSIT_WALLET_NAME as DEPOSIT_WALLET_NAME
from polyexec._pure.type_strings import DEPOSIT_WALLET_VERSION as DEPOSIT_WALLET_VERSION
from polyexec._pure.type_strings import DOMAIN_TYPE as DOMAIN_TYPE
from polyexec._pure.type_strings import EXCHANGE_NAME as EXCHANGE_NAME
from polyexec._pure.type_strings import ORDER_TYPE_V1 as ORDER_TYPE_V1
from polyexec._pure.type_strings import ORDER_TYPE_V2 as ORDER_TYPE_V2
from polyexec._pure.type_strings import TYPED_DATA_SIGN_TYPE as TYPED_DATA_SIGN_TYPE

def order_struct_hash_v1(
    salt: int,
    maker: bytes,
    signer: bytes,
    taker: bytes,
    token_id: int,
    maker_amount: int,
    taker_amount: int,
    expiration: int,
    nonce: int,
    fee_rate_bps: int,
    side: int,
    signature_type: int,
) -> bytes: ...
def order_struct_hash_v2(
    salt: int,
    maker: bytes,
    signer: bytes,
    token_id: int,
    maker_amount: int,
    taker_amount: int,
    side: int,
    signature_type: int,
    timestamp_ms: int,
    metadata: bytes,
    builder: bytes,
) -> bytes: ...
def typed_data_hash(domain_separator: bytes, struct_hash: bytes) -> bytes: ...
def typed_data_sign_hash(
    domain_separator: bytes, contents: bytes, chain_id: int, wallet: bytes
) -> bytes: ...
def exchange_domain_separator(version: int, chain_id: int, contract: bytes) -> bytes: ...
