//! Rust clients and signers, timed call by call for polyexec's benchmarks.
//!
//! Reads one JSON object a line and answers each with one. The first line is the input of every
//! case; `{"case": name}` answers with its output, `{"case": name, "calls": n}` with n durations.

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead as _, Read as _, Write as _, stdin, stdout};
use std::net::TcpListener;
use std::str::FromStr as _;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, B256, Signature, U256, hex, keccak256};
use alloy::signers::local::PrivateKeySigner;
use alloy::signers::{Signer as _, SignerSync as _};
use alloy::sol;
use alloy::sol_types::{Eip712Domain, SolStruct as _, eip712_domain};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use hmac::{Hmac, Mac as _};
use polyfill_rs::auth as polyfill_auth;
use polyfill_rs::orders as polyfill;
use polyfill_rs::types as polyfill_types;
use polymarket_client_sdk_v2::auth::{Credentials, Uuid};
use polymarket_client_sdk_v2::clob::types::{Side, TickSize};
use polymarket_client_sdk_v2::clob::{Client, Config};
use polymarket_client_sdk_v2::types::Decimal;
use secp256k1::{Message, Secp256k1, SecretKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

const CHAIN: u64 = 137;
const PASSPHRASE: &str = "passphrase";

type Failure = Box<dyn Error>;

#[derive(Clone, Deserialize)]
struct Input {
    private_key: String,
    owner: String,
    secret: String,
    exchange: Address,
    timestamp_ms: u64,
    legs: Vec<Leg>,
}

#[derive(Clone, Deserialize)]
struct Leg {
    token: String,
    price: String,
    size: String,
    salt: u64,
    maker_micro: u64,
    taker_micro: u64,
}

/// What a case makes; `POST /orders` without the sending.
enum Output {
    Signatures(Vec<String>),
    Request {
        body: Vec<u8>,
        timestamp: String,
        signature: String,
    },
}

struct Case {
    name: &'static str,
    call: Box<dyn Fn() -> Output>,
}

sol! {
    struct Order {
        uint256 salt;
        address maker;
        address signer;
        uint256 tokenId;
        uint256 makerAmount;
        uint256 takerAmount;
        uint8 side;
        uint8 signatureType;
        uint256 timestamp;
        bytes32 metadata;
        bytes32 builder;
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostedOrder<'a> {
    order: WireOrder<'a>,
    owner: &'a str,
    order_type: &'a str,
    post_only: bool,
    defer_exec: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireOrder<'a> {
    salt: u64,
    maker: &'a str,
    signer: &'a str,
    token_id: &'a str,
    maker_amount: String,
    taker_amount: String,
    side: &'a str,
    signature_type: u8,
    expiration: &'a str,
    timestamp: String,
    metadata: B256,
    builder: B256,
    signature: String,
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_millis() as u64
}

fn domain(exchange: Address) -> Eip712Domain {
    eip712_domain! {
        name: "Polymarket CTF Exchange",
        version: "2",
        chain_id: CHAIN,
        verifying_contract: exchange,
    }
}

fn hmac_of(secret: &[u8], timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(timestamp.as_bytes());
    mac.update(b"POST/orders");
    mac.update(body);
    URL_SAFE.encode(mac.finalize().into_bytes())
}

fn request(secret: &[u8], body: Vec<u8>) -> Output {
    let timestamp = (now_ms() / 1000).to_string();
    let signature = hmac_of(secret, &timestamp, &body);
    Output::Request {
        body,
        timestamp,
        signature,
    }
}

/// What a careful Rust program does without a client: alloy hashes, `sign` signs, serde writes.
struct ByHand<S> {
    input: Input,
    secret: Vec<u8>,
    address: Address,
    checksummed: String,
    separator: B256,
    tokens: Vec<U256>,
    sign: S,
}

impl<S: Fn(B256) -> [u8; 65]> ByHand<S> {
    fn new(input: &Input, sign: S) -> Result<Self, Failure> {
        let address = PrivateKeySigner::from_str(&input.private_key)?.address();
        Ok(Self {
            input: input.clone(),
            secret: URL_SAFE.decode(&input.secret)?,
            address,
            checksummed: address.to_checksum(None),
            separator: domain(input.exchange).separator(),
            tokens: input
                .legs
                .iter()
                .map(|leg| U256::from_str(&leg.token))
                .collect::<Result<_, _>>()?,
            sign,
        })
    }

    fn signature(&self, index: usize, maker: u64, taker: u64, salt: u64, timestamp: u64) -> String {
        let order = Order {
            salt: U256::from(salt),
            maker: self.address,
            signer: self.address,
            tokenId: self.tokens[index],
            makerAmount: U256::from(maker),
            takerAmount: U256::from(taker),
            side: 0,
            signatureType: 0,
            timestamp: U256::from(timestamp),
            metadata: B256::ZERO,
            builder: B256::ZERO,
        };
        let mut message = [0_u8; 66];
        message[..2].copy_from_slice(b"\x19\x01");
        message[2..34].copy_from_slice(self.separator.as_slice());
        message[34..].copy_from_slice(order.eip712_hash_struct().as_slice());
        hex::encode_prefixed((self.sign)(keccak256(message)))
    }

    fn signatures(&self) -> Output {
        let signed = self.input.legs.iter().enumerate().map(|(index, leg)| {
            self.signature(
                index,
                leg.maker_micro,
                leg.taker_micro,
                leg.salt,
                self.input.timestamp_ms,
            )
        });
        Output::Signatures(signed.collect())
    }

    fn request(&self) -> Output {
        let timestamp = now_ms();
        let mut orders = Vec::with_capacity(self.input.legs.len());
        for (index, leg) in self.input.legs.iter().enumerate() {
            let size = Decimal::from_str(&leg.size).expect("a decimal size");
            let price = Decimal::from_str(&leg.price).expect("a decimal price");
            let million = Decimal::from(1_000_000);
            let taker = u64::try_from(size * million).expect("a size in range");
            let maker = u64::try_from(size * price * million).expect("a cost in range");
            let signature = self.signature(index, maker, taker, leg.salt, timestamp);
            orders.push(PostedOrder {
                order: WireOrder {
                    salt: leg.salt,
                    maker: &self.checksummed,
                    signer: &self.checksummed,
                    token_id: &leg.token,
                    maker_amount: maker.to_string(),
                    taker_amount: taker.to_string(),
                    side: "BUY",
                    signature_type: 0,
                    expiration: "0",
                    timestamp: timestamp.to_string(),
                    metadata: B256::ZERO,
                    builder: B256::ZERO,
                    signature,
                },
                owner: &self.input.owner,
                order_type: "GTC",
                post_only: false,
                defer_exec: false,
            });
        }
        request(
            &self.secret,
            serde_json::to_vec(&orders).expect("orders are JSON"),
        )
    }
}

fn by_hand<S: Fn(B256) -> [u8; 65] + Clone + 'static>(
    input: &Input,
    names: [&'static str; 2],
    sign: S,
) -> Result<[Case; 2], Failure> {
    let signing = ByHand::new(input, sign.clone())?;
    let posting = ByHand::new(input, sign)?;
    Ok([
        Case {
            name: names[0],
            call: Box::new(move || signing.signatures()),
        },
        Case {
            name: names[1],
            call: Box::new(move || posting.request()),
        },
    ])
}

fn with_k256(input: &Input) -> Result<[Case; 2], Failure> {
    let signer = PrivateKeySigner::from_str(&input.private_key)?;
    by_hand(
        input,
        ["alloy + k256/sign", "alloy + k256/request"],
        move |digest| {
            let signature: Signature = signer.sign_hash_sync(&digest).expect("a valid key signs");
            signature.as_bytes()
        },
    )
}

fn with_secp256k1(input: &Input) -> Result<[Case; 2], Failure> {
    let curve = Secp256k1::signing_only();
    let key = SecretKey::from_str(input.private_key.trim_start_matches("0x"))?;
    by_hand(
        input,
        ["alloy + secp256k1/sign", "alloy + secp256k1/request"],
        move |digest| {
            let signature = curve.sign_ecdsa_recoverable(Message::from_digest(digest.0), &key);
            let (recovery, compact) = signature.serialize_compact();
            let mut bytes = [0; 65];
            bytes[..64].copy_from_slice(&compact);
            bytes[64] = 27 + i32::from(recovery) as u8;
            bytes
        },
    )
}

fn with_polyfill(input: &Input) -> Result<[Case; 2], Failure> {
    let signer = PrivateKeySigner::from_str(&input.private_key)?;
    let builder = polyfill::OrderBuilder::new(signer.clone(), None, None);
    let credentials =
        polyfill_auth::PreparedApiCredentials::try_new(polyfill_types::ApiCredentials {
            api_key: input.owner.clone(),
            secret: input.secret.clone(),
            passphrase: PASSPHRASE.to_owned(),
        })?;
    let mut legs = Vec::new();
    for leg in &input.legs {
        let tick = Decimal::new(1, 2);
        let path =
            builder.prepare_order_path(CHAIN, leg.token.as_str(), tick, false, None, None)?;
        legs.push((
            path,
            Decimal::from_str(&leg.price)?,
            Decimal::from_str(&leg.size)?,
        ));
    }
    let prepared = polyfill_auth::PreparedOrderDomain::new(CHAIN, input.exchange);
    let signing = {
        let (input, signer) = (input.clone(), signer.clone());
        let tokens: Vec<U256> = input
            .legs
            .iter()
            .map(|leg| U256::from_str(&leg.token))
            .collect::<Result<_, _>>()?;
        move || {
            let mut signatures = Vec::with_capacity(3);
            for (leg, token) in input.legs.iter().zip(&tokens) {
                let order = polyfill_auth::SignedOrderMessage {
                    salt: U256::from(leg.salt),
                    maker: signer.address(),
                    signer: signer.address(),
                    token_id: *token,
                    maker_amount: U256::from(leg.maker_micro),
                    taker_amount: U256::from(leg.taker_micro),
                    side: 0,
                    signature_type: 0,
                    timestamp: U256::from(input.timestamp_ms),
                    metadata: B256::ZERO,
                    builder: B256::ZERO,
                };
                signatures.push(
                    polyfill_auth::sign_order_message_with_domain(&signer, order, &prepared)
                        .expect("a valid order signs"),
                );
            }
            Output::Signatures(signatures)
        }
    };
    let owner = input.owner.clone();
    let posting = move || {
        let orders: Vec<_> = legs
            .iter()
            .map(|(path, price, size)| {
                let order = path
                    .create_limit_order(polyfill_types::Side::BUY, *price, *size, None)
                    .expect("a valid order signs");
                polyfill_types::PostOrder::new(order, owner.clone(), Default::default())
            })
            .collect();
        let body = serde_json::to_vec(&orders).expect("orders are JSON");
        let mut headers = polyfill_auth::create_l2_headers_with_body_bytes(
            &signer,
            &credentials,
            "POST",
            "/orders",
            Some(&body),
        )
        .expect("valid credentials sign");
        let mut take = |name| {
            headers
                .remove(name)
                .expect("polyfill-rs writes this header")
        };
        let (timestamp, signature) = (take("poly_timestamp"), take("poly_signature"));
        Output::Request {
            body,
            timestamp,
            signature,
        }
    };
    Ok([
        Case {
            name: "polyfill-rs/sign",
            call: Box::new(signing),
        },
        Case {
            name: "polyfill-rs/request",
            call: Box::new(posting),
        },
    ])
}

/// Answer the one question that the client asks before its first order.
fn version_server() -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let host = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 2048];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\
                connection: close\r\n\r\n{\"version\":2}",
            );
        }
    });
    Ok(host)
}

fn with_official(input: &Input) -> Result<[Case; 1], Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signer = PrivateKeySigner::from_str(&input.private_key)?.with_chain_id(Some(CHAIN));
    let owner = Uuid::from_str(&input.owner)?;
    let credentials = Credentials::new(owner, input.secret.clone(), PASSPHRASE.to_owned());
    let client = runtime.block_on(async {
        let client = Client::new(&version_server()?, Config::default())?;
        let client = client
            .authentication_builder(&signer)
            .credentials(credentials)
            .authenticate()
            .await?;
        client.version().await?;
        Ok::<_, Failure>(client)
    })?;
    let mut legs = Vec::new();
    for leg in &input.legs {
        let token = U256::from_str(&leg.token)?;
        client.set_tick_size(token, TickSize::Hundredth);
        client.set_neg_risk(token, false);
        legs.push((
            token,
            Decimal::from_str(&leg.price)?,
            Decimal::from_str(&leg.size)?,
        ));
    }
    let secret = URL_SAFE.decode(&input.secret)?;
    let posting = move || {
        let orders = runtime.block_on(async {
            let mut orders = Vec::with_capacity(legs.len());
            for (token, price, size) in &legs {
                let builder = client.limit_order().token_id(*token).side(Side::Buy);
                let order = builder
                    .price(*price)
                    .size(*size)
                    .build()
                    .await
                    .expect("a valid order");
                orders.push(
                    client
                        .sign(&signer, order)
                        .await
                        .expect("a valid order signs"),
                );
            }
            orders
        });
        // The client's own header function is private; this does the same with less copying.
        request(
            &secret,
            serde_json::to_vec(&orders).expect("orders are JSON"),
        )
    };
    Ok([Case {
        name: "polymarket_client_sdk_v2/request",
        call: Box::new(posting),
    }])
}

fn answer(cases: &[Case], question: &Value) -> Result<Value, Failure> {
    let name = question["case"]
        .as_str()
        .ok_or("a question names its case")?;
    let case = cases
        .iter()
        .find(|case| case.name == name)
        .ok_or("no such case")?;
    let Some(calls) = question["calls"].as_u64() else {
        return Ok(match (case.call)() {
            Output::Signatures(signatures) => json!({ "signatures": signatures }),
            Output::Request {
                body,
                timestamp,
                signature,
            } => json!({
                "body": String::from_utf8(body)?,
                "timestamp": timestamp,
                "signature": signature,
            }),
        });
    };
    black_box((case.call)());
    let mut durations = Vec::with_capacity(calls as usize);
    for _ in 0..calls {
        let start = Instant::now();
        black_box((case.call)());
        durations.push(start.elapsed().as_nanos() as u64);
    }
    Ok(json!({ "ns": durations }))
}

fn main() -> Result<(), Failure> {
    let mut lines = stdin().lock().lines();
    let input: Input = serde_json::from_str(&lines.next().ok_or("no input")??)?;
    let mut cases = Vec::new();
    cases.extend(with_official(&input)?);
    cases.extend(with_polyfill(&input)?);
    cases.extend(with_k256(&input)?);
    cases.extend(with_secp256k1(&input)?);
    println!(
        "{}",
        json!({ "cases": cases.iter().map(|case| case.name).collect::<Vec<_>>() })
    );
    for line in lines {
        let reply = answer(&cases, &serde_json::from_str(&line?)?)?;
        println!("{reply}");
        stdout().flush()?;
    }
    Ok(())
}
