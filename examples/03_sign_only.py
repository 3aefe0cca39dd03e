"""Sign an order and write the body of its POST, without sending anything."""

import polyexec as px

PRIVATE_KEY = "0x" + "33" * 32


def main() -> None:
    signer = px.OrderSigner(PRIVATE_KEY, chain_id=137)
    amounts = px.limit_amounts("0.33", "10.25", px.Side.BUY, tick_size="0.01")
    order = px.Order(
        generation=px.Generation.CLOB_V2,
        token_id=px.TokenId(
            "71321045679252212594626385532706912750332728571942532289631379312455583992563"
        ),
        side=px.Side.BUY,
        maker_micro=amounts.maker_micro,
        taker_micro=amounts.taker_micro,
    )
    signed = signer.sign(order)
    print(f"{signer.address} gives {amounts.maker_micro} for {amounts.taker_micro} micro-units")
    print(f"order id  {signed.order_id}")
    print(f"signature {signed.signature}")
    body = px.encode_order(signed, owner="your-api-key", order_type=px.OrderType.GTC)
    print(body.decode())


if __name__ == "__main__":
    main()
