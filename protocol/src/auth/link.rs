//! A client link: handshake, then frames with a MAC (DESIGN 3; rules L1 to L4).
//!
//! A frame's bytes are `header length (u16, little endian) | header | body | tag`. The tag is a
//! MAC over `counter (u64, little endian) | header length | header | SHA-256(body)`, with a key
//! and a counter per direction. The counter is not sent: a replayed, dropped or reordered frame
//! fails like a forged one, and the link is closed.

use bytes::Bytes;
use hkdf::Hkdf;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

use super::mac::{MacError, MacKey};
use super::noise::{ClientIdentity, NoiseKeypair, Role, handshake};
use super::verified::Verified;
use crate::membership::{ClientId, Digest, MacAlgorithm, ServiceId, View, ViewNumber};
use crate::wire::limits::MAX_CLIENT_FRAME;
use crate::wire::{
    ClientFrame, ClientHeader, ClientHello, DecodeError, Frame, HelloRefusal, PROTOCOL_VERSION,
    ReplicaFrame, ReplicaHeader, ServerHello, Welcome, decode, encode,
};

/// Why a handshake came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The peer is incompatible, or says so.
    #[error(transparent)]
    Refused(HelloRefusal),
    /// The peer misbehaved: its frame is not a handshake.
    #[error("malformed handshake: {0}")]
    Malformed(DecodeError),
    /// The peer misbehaved: it does not hold the key that the view names.
    #[error("the peer could not prove that it holds the key in the view")]
    Key,
}

/// Why a frame after the handshake is not accepted. The link is unusable from here on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The frame is malformed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Forged, replayed, reordered or damaged.
    #[error(transparent)]
    Mac(#[from] MacError),
}

/// One direction of a link.
#[derive(Debug, Clone)]
struct Direction {
    key: MacKey,
    counter: u64,
}

impl Direction {
    fn seal<H: Serialize>(&mut self, frame: &Frame<H>) -> Vec<u8> {
        let header = encode(&frame.header);
        let len = u16::try_from(header.len()).expect("a header is far below 64 KiB").to_le_bytes();
        let mut out = Vec::with_capacity(2 + header.len() + frame.body.len() + self.key.tag_len());
        out.extend_from_slice(&len);
        out.extend_from_slice(&header);
        out.extend_from_slice(&frame.body);
        self.key.tag_into(
            &[&self.counter.to_le_bytes(), &len, &header, &frame.body_digest.0],
            &mut out,
        );
        self.counter += 1;
        out
    }

    fn open<H: DeserializeOwned>(&mut self, bytes: &Bytes) -> Result<Frame<H>, VerifyError> {
        if bytes.len() > MAX_CLIENT_FRAME {
            let (len, limit) = (bytes.len(), MAX_CLIENT_FRAME);
            return Err(DecodeError::TooLong { len, limit }.into());
        }
        let body_end = bytes.len().checked_sub(self.key.tag_len()).ok_or(DecodeError::Malformed)?;
        let len = bytes.first_chunk::<2>().ok_or(DecodeError::Malformed)?;
        let header_end = 2 + usize::from(u16::from_le_bytes(*len));
        if header_end > body_end {
            return Err(DecodeError::Malformed.into());
        }
        let header = &bytes[2..header_end];
        let body_digest = Digest::of(&bytes[header_end..body_end]);
        self.key.verify(
            &[&self.counter.to_le_bytes(), len, header, &body_digest.0],
            &bytes[body_end..],
        )?;
        self.counter += 1;
        let header = decode(header)?;
        Ok(Frame { header, body: bytes.slice(header_end..body_end), body_digest })
    }
}

/// The two directions' keys, from the handshake's secrets.
fn directions(
    algorithm: MacAlgorithm,
    mut noise: snow::HandshakeState,
    replica: &NoisePublic,
) -> (Direction, Direction) {
    // The MAC keys are derived, not used as cipher keys: no Noise transport state exists beside
    // them. The replica's key in the info keeps links to different replicas apart even if a
    // generator repeats itself.
    let (to_replica, to_client) = noise.dangerously_get_raw_split();
    let derive = |secret: &[u8; 32], label: &[u8]| {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(b"webbft link v1"), secret)
            .expand_multi_info(&[label, replica], &mut key)
            .expect("32 bytes are a legal length");
        Direction { key: MacKey::new(algorithm, &key), counter: 0 }
    };
    (derive(&to_replica, b"client to replica"), derive(&to_client, b"replica to client"))
}

type NoisePublic = [u8; 32];

fn prologue(version: u16, service: ServiceId, view: ViewNumber) -> Vec<u8> {
    encode(&("webbft prologue", version, service, view))
}

/// The client's end of a link, once established.
#[derive(Debug)]
pub struct ClientLink {
    to_replica: Direction,
    from_replica: Direction,
}

impl ClientLink {
    /// The bytes of a frame; they must be sent in the order in which they were sealed.
    pub fn seal(&mut self, frame: &ClientFrame) -> Vec<u8> {
        self.to_replica.seal(frame)
    }

    /// The bytes of a frame that a correct client does not send.
    #[cfg(test)]
    pub(super) fn seal_any<H: Serialize>(&mut self, frame: &Frame<H>) -> Vec<u8> {
        self.to_replica.seal(frame)
    }

    /// Authenticates and decodes a frame; frames must come in the order in which they arrived.
    ///
    /// # Errors
    /// Where it is malformed or was not sent by the replica as the next frame. Close the link.
    pub fn open(&mut self, bytes: &Bytes) -> Result<Verified<ReplicaFrame>, VerifyError> {
        self.from_replica.open::<ReplicaHeader>(bytes).map(Verified::new)
    }
}

/// The replica's end of a link, once established.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct ReplicaLink {
    client: ClientId,
    to_client: Direction,
    from_client: Direction,
}

impl ReplicaLink {
    /// The client at the other end.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        self.client
    }

    /// The bytes of a frame; they must be sent in the order in which they were sealed.
    pub fn seal(&mut self, frame: &ReplicaFrame) -> Vec<u8> {
        self.to_client.seal(frame)
    }

    /// Authenticates and decodes a frame; frames must come in the order in which they arrived.
    ///
    /// # Errors
    /// Where it is malformed or was not sent by the client as the next frame. Close the link.
    pub fn open(&mut self, bytes: &Bytes) -> Result<Verified<ClientFrame>, VerifyError> {
        self.from_client.open::<ClientHeader>(bytes).map(Verified::new)
    }
}

/// The client's half of a handshake that has begun.
pub struct ClientHandshake {
    noise: snow::HandshakeState,
    algorithm: MacAlgorithm,
    replica: NoisePublic,
}

impl std::fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientHandshake")
    }
}

impl ClientHandshake {
    /// Begins a handshake with the member of `view` at position `index`; gives the first frame.
    ///
    /// `seed` is 32 random bytes, never used before.
    ///
    /// # Panics
    /// Where `index` is not a position in the view.
    #[must_use]
    pub fn begin(
        view: &View,
        index: usize,
        identity: &ClientIdentity,
        seed: [u8; 32],
    ) -> (Self, Vec<u8>) {
        let replica = view.members[index].noise_key.0;
        let prologue = prologue(PROTOCOL_VERSION, view.service, view.number);
        let role = Role::Initiator { remote: &replica };
        let mut noise = handshake(role, identity.keypair(), &prologue, seed)
            .expect("the pattern and key lengths are fixed");
        let mut message = vec![0; 128];
        let len = noise.write_message(&[], &mut message).expect("an IK message has 96 bytes");
        message.truncate(len);
        let hello = ClientHello {
            version: PROTOCOL_VERSION,
            service: view.service,
            view: view.number,
            noise: message.into(),
        };
        (Self { noise, algorithm: view.mac, replica }, encode(&hello))
    }

    /// Finishes the handshake with the replica's first frame.
    ///
    /// # Errors
    /// Where the replica refuses, or its frame is not the one a holder of its key would send.
    pub fn finish(mut self, frame: &[u8]) -> Result<(ClientLink, Verified<Welcome>), LinkError> {
        let noise = match decode(frame).map_err(LinkError::Malformed)? {
            ServerHello::Accepted { noise } => noise,
            ServerHello::Refused(refusal) => return Err(LinkError::Refused(refusal)),
        };
        let mut payload = vec![0; noise.len()];
        let len = self.noise.read_message(&noise, &mut payload).map_err(|_| LinkError::Key)?;
        let welcome = decode(&payload[..len]).map_err(LinkError::Malformed)?;
        let (to_replica, from_replica) = directions(self.algorithm, self.noise, &self.replica);
        Ok((ClientLink { to_replica, from_replica }, Verified::new(welcome)))
    }
}

/// A replica's half of the handshake: one frame in, one frame out.
#[derive(Debug, Clone, Copy)]
pub struct ServerHandshake<'a> {
    /// The current view.
    pub view: &'a View,
    /// The replica's static key pair.
    pub keypair: &'a NoiseKeypair,
}

/// A link, and the frame that tells the client so.
#[derive(Debug)]
pub struct Accepted {
    /// The established link.
    pub link: ReplicaLink,
    /// To be sent before anything else.
    pub reply: Vec<u8>,
}

impl ServerHandshake<'_> {
    /// Answers a client's first frame. `seed` is 32 random bytes, never used before.
    ///
    /// # Errors
    /// The refusal and the frame that tells the client; close the link after sending it.
    pub fn accept(
        self,
        frame: &[u8],
        welcome: &Welcome,
        seed: [u8; 32],
    ) -> Result<Accepted, (LinkError, Vec<u8>)> {
        self.try_accept(frame, welcome, seed).map_err(|error| {
            let refusal = match error {
                LinkError::Refused(refusal) => refusal,
                LinkError::Malformed(_) | LinkError::Key => HelloRefusal::Key,
            };
            (error, encode(&ServerHello::Refused(refusal)))
        })
    }

    fn try_accept(
        self,
        frame: &[u8],
        welcome: &Welcome,
        seed: [u8; 32],
    ) -> Result<Accepted, LinkError> {
        let hello: ClientHello = decode(frame).map_err(LinkError::Malformed)?;
        if hello.version != PROTOCOL_VERSION {
            return Err(LinkError::Refused(HelloRefusal::Version(PROTOCOL_VERSION)));
        }
        if hello.service != self.view.service {
            return Err(LinkError::Refused(HelloRefusal::Service(self.view.service)));
        }
        if hello.view != self.view.number {
            return Err(LinkError::Refused(HelloRefusal::View(self.view.number)));
        }
        let prologue = prologue(hello.version, hello.service, hello.view);
        let mut noise = handshake(Role::Responder, self.keypair, &prologue, seed)
            .expect("the pattern and key lengths are fixed");
        let mut payload = vec![0; hello.noise.len()];
        noise.read_message(&hello.noise, &mut payload).map_err(|_| LinkError::Key)?;
        let client: [u8; 32] =
            noise.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(LinkError::Key)?;
        let welcome = encode(welcome);
        let mut message = vec![0; welcome.len() + 128];
        let len = noise.write_message(&welcome, &mut message).map_err(|_| LinkError::Key)?;
        message.truncate(len);
        let (from_client, to_client) = directions(self.view.mac, noise, self.keypair.public());
        Ok(Accepted {
            link: ReplicaLink { client: ClientId::of_key(&client), to_client, from_client },
            reply: encode(&ServerHello::Accepted { noise: message.into() }),
        })
    }
}
