//! A hand-written SSH server, which sends what no library would. It supports one algorithm of each
//! kind, accepts every login, and floods the channel of the first command beyond its window.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use sandbox_core::{ByteStream, Connector, Deadline, Endpoint, KeyPair, Result};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

const ID: &str = "SSH-2.0-raw";
/// Bytes of each piece of the flood: as many as a packet may have.
const PIECE: usize = 32 << 10;

/// Opens streams to such servers, and counts the bytes that they could send.
#[derive(Debug)]
pub(crate) struct Flooding {
    seed: [u8; 32],
    public: Vec<u8>,
    pub(crate) flooded: Arc<AtomicU64>,
}

impl Flooding {
    pub(crate) fn new(host: &KeyPair) -> Self {
        let key = russh::keys::PrivateKey::from_openssh(host.private.expose()).unwrap();
        let pair = key.key_data().ed25519().unwrap();
        let public = [string(b"ssh-ed25519"), string(pair.public.as_ref())].concat();
        Self {
            seed: pair.private.to_bytes(),
            public,
            flooded: Arc::default(),
        }
    }
}

#[async_trait]
impl Connector for Flooding {
    async fn connect(&self, _: &Endpoint, _: Deadline) -> Result<Box<dyn ByteStream>> {
        let (near, far) = tokio::io::duplex(256 << 10);
        let (key, public) = (
            Ed25519KeyPair::from_seed_unchecked(&self.seed).unwrap(),
            self.public.clone(),
        );
        let flooded = Arc::clone(&self.flooded);
        tokio::spawn(async move {
            // The client hangs up in the end.
            serve(far, &key, &public, &flooded).await.ok();
        });
        Ok(Box::new(near))
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    key: &Ed25519KeyPair,
    public: &[u8],
    flooded: &AtomicU64,
) -> std::io::Result<()> {
    let (read, write) = tokio::io::split(stream);
    let mut read = Half::new(BufReader::new(read));
    let mut write = Half::new(write);
    write
        .stream
        .write_all(format!("{ID}\r\n").as_bytes())
        .await?;
    let mut theirs = String::new();
    read.stream.read_line(&mut theirs).await?;

    // RFC 4253, section 7.1; RFC 8731.
    let lists = [
        "curve25519-sha256",
        "ssh-ed25519",
        GCM,
        GCM,
        MAC,
        MAC,
        "none",
        "none",
        "",
        "",
    ];
    let names: Vec<u8> = lists
        .iter()
        .flat_map(|list| string(list.as_bytes()))
        .collect();
    let our_init = [&[20][..], &[7; 16], &names, &[0; 5]].concat();
    write.send(&our_init).await?;
    let their_init = read.receive().await?;
    let offer = read.receive().await?;
    let their_point = offer[5..].to_vec();
    let random = SystemRandom::new();
    let secret = EphemeralPrivateKey::generate(&X25519, &random).unwrap();
    let point = secret.compute_public_key().unwrap();
    let theirs_point = UnparsedPublicKey::new(&X25519, &their_point);
    let shared = agree_ephemeral(secret, &theirs_point, positive).unwrap();
    let hashed = [
        string(theirs.trim_end().as_bytes()),
        string(ID.as_bytes()),
        string(&their_init),
        string(&our_init),
        string(public),
        string(&their_point),
        string(point.as_ref()),
        string(&shared),
    ];
    let hash = digest(&SHA256, &hashed.concat());
    let signature = [
        string(b"ssh-ed25519"),
        string(key.sign(hash.as_ref()).as_ref()),
    ]
    .concat();
    write
        .send(
            &[
                &[31][..],
                &string(public),
                &string(point.as_ref()),
                &string(&signature),
            ]
            .concat(),
        )
        .await?;
    write.send(&[21]).await?;
    read.receive().await?;
    let derive = |letter: u8| {
        digest(
            &SHA256,
            &[
                &string(&shared)[..],
                hash.as_ref(),
                &[letter],
                hash.as_ref(),
            ]
            .concat(),
        )
    };
    read.encrypted(derive(b'A').as_ref(), derive(b'C').as_ref());
    write.encrypted(derive(b'B').as_ref(), derive(b'D').as_ref());

    loop {
        let request = read.receive().await?;
        match request[0] {
            5 => {
                write
                    .send(&[&[6][..], &string(b"ssh-userauth")].concat())
                    .await?
            }
            50 => write.send(&[52]).await?,
            // RFC 4254, sections 5.1 and 5.4.
            90 => {
                let after_kind = 5 + length(&request[1..]);
                let sender = &request[after_kind..after_kind + 4];
                let window = 1_u32 << 20;
                let packet = 32_u32 << 10;
                let channel = [0; 4];
                let body = [
                    sender,
                    &channel,
                    &window.to_be_bytes(),
                    &packet.to_be_bytes(),
                ]
                .concat();
                write.send(&[&[91][..], &body].concat()).await?;
                read.peer = sender.to_vec();
            }
            98 => {
                write.send(&[&[99][..], &read.peer].concat()).await?;
                if request[5..].starts_with(&string(b"exec")) {
                    break;
                }
            }
            80 => write.send(&[82]).await?,
            _ => {}
        }
    }
    let peer = read.peer.clone();
    // Window adjustments and all other messages are ignored.
    tokio::spawn(async move { while read.receive().await.is_ok() {} });
    let piece = [&[94][..], &peer, &string(&[b'x'; PIECE])].concat();
    loop {
        write.send(&piece).await?;
        flooded.fetch_add(PIECE as u64, Ordering::Relaxed);
    }
}

const GCM: &str = "aes256-gcm@openssh.com";
/// Unused with that cipher, but the two sides must agree on one.
const MAC: &str = "hmac-sha2-256";

/// One direction; encrypted once there are keys (RFC 5647, as OpenSSH has it).
struct Half<S> {
    stream: S,
    key: Option<(LessSafeKey, [u8; 12])>,
    /// The client's number of its channel.
    peer: Vec<u8>,
}

impl<S> Half<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            key: None,
            peer: Vec::new(),
        }
    }

    fn encrypted(&mut self, nonce: &[u8], key: &[u8]) {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        self.key = Some((key, nonce[..12].try_into().unwrap()));
    }

    fn nonce(nonce: &mut [u8; 12]) -> Nonce {
        let now = *nonce;
        let (_, counter) = nonce.split_last_chunk_mut::<8>().unwrap();
        *counter = u64::from_be_bytes(*counter).wrapping_add(1).to_be_bytes();
        Nonce::assume_unique_for_key(now)
    }
}

impl<S: AsyncWrite + Unpin> Half<S> {
    async fn send(&mut self, payload: &[u8]) -> std::io::Result<()> {
        // The length is padded with the rest only if the packet is not encrypted.
        let (block, head) = if self.key.is_some() { (16, 1) } else { (8, 5) };
        let padding = (block - (head + payload.len() + 4) % block) + 4;
        let length = u32::try_from(1 + payload.len() + padding)
            .unwrap()
            .to_be_bytes();
        let mut body = [
            &[u8::try_from(padding).unwrap()][..],
            payload,
            &vec![0; padding],
        ]
        .concat();
        if let Some((key, nonce)) = &mut self.key {
            key.seal_in_place_append_tag(Self::nonce(nonce), Aad::from(length), &mut body)
                .unwrap();
        }
        self.stream.write_all(&[&length[..], &body].concat()).await
    }
}

impl<S: AsyncRead + Unpin> Half<S> {
    async fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await?;
        let tag = if self.key.is_some() { 16 } else { 0 };
        let mut body = vec![0; u32::from_be_bytes(length) as usize + tag];
        self.stream.read_exact(&mut body).await?;
        if let Some((key, nonce)) = &mut self.key {
            key.open_in_place(Self::nonce(nonce), Aad::from(length), &mut body)
                .unwrap();
        }
        let end = body.len() - tag - usize::from(body[0]);
        Ok(body[1..end].to_vec())
    }
}

/// As an mpint (RFC 4251, section 5), without its length.
fn positive(number: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = number
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect();
    let sign: &[u8] = if digits.first().is_some_and(|byte| byte & 0x80 != 0) {
        &[0]
    } else {
        &[]
    };
    [sign, &digits].concat()
}

fn length(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [
        &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..],
        bytes,
    ]
    .concat()
}
