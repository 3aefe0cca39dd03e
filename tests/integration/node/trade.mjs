// Trade with @polymarket/clob-client-v2 as it is; run by test_typescript_client.
// Prints one JSON object: what the client returned at each step.

import { Wallet } from "@ethersproject/wallet";
import { AssetType, ClobClient, OrderType, Side } from "@polymarket/clob-client-v2";

const [host, key, yes, no] = process.argv.slice(2);
const signer = new Wallet(key);
const chain = 137;
console.log = console.error; // the client logs refusals; the last line is the result

const seen = {};
const creds = await new ClobClient({ host, chain, signer }).createOrDeriveApiKey();
const clob = new ClobClient({ host, chain, signer, creds });
seen.ok = await clob.getOk();
const book = await clob.getOrderBook(yes);
seen.hash = [book.hash, await clob.getOrderBookHash(book)];
seen.tick = await clob.getTickSize(yes);

const order = (tokenID, side, price, size) => ({ tokenID, side, price, size });
seen.resting = await clob.createAndPostOrder(order(yes, Side.BUY, 0.3, 10), {}, OrderType.GTC);
const market = { tokenID: yes, amount: 4, side: Side.BUY, orderType: OrderType.FOK };
seen.fok = await clob.createAndPostMarketOrder(market, {}, OrderType.FOK);
seen.killed = await clob.createAndPostOrder(order(yes, Side.BUY, 0.4, 200), {}, OrderType.FOK);
seen.batch = await clob.postOrders([
  { order: await clob.createOrder(order(no, Side.BUY, 0.2, 10)), orderType: OrderType.GTC },
  { order: await clob.createOrder(order(yes, Side.SELL, 0.35, 5)), orderType: OrderType.FAK },
]);
seen.open = (await clob.getOpenOrders()).map((one) => [one.side, one.price, one.original_size]);
seen.trades = (await clob.getTrades()).map((one) => [one.side, one.size, one.price]);
seen.money = (await clob.getBalanceAllowance({ asset_type: AssetType.COLLATERAL })).balance;
seen.order = (await clob.getOrder(seen.resting.orderID)).status;
seen.cancel = await clob.cancelOrder({ orderID: seen.resting.orderID });
seen.cancelAll = (await clob.cancelAll()).canceled.length;
process.stdout.write(JSON.stringify(seen));
