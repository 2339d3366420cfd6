//! TLS 1.3 between replicas, authenticated on both sides by the Ed25519 keys in the view
//! (DESIGN 3): raw public keys (RFC 7250), no certificates, no authorities, no names.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct,
    DistinguishedName, Error, ServerConfig, ServerConnection, SignatureScheme,
};
use webbft_protocol::auth::SigningKey;
use webbft_protocol::membership::{Digest, View};

/// The DER that precedes a raw Ed25519 public key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The DER that precedes an Ed25519 secret in PKCS #8 version 1 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// TLS configuration of one replica for its streams to and from its peers.
#[derive(Debug)]
pub(crate) struct PeerTls {
    server: Arc<ServerConfig>,
    /// One per member of the view: each accepts that member's key and no other.
    clients: Vec<Arc<ClientConfig>>,
    view: Arc<View>,
    me: usize,
}

impl PeerTls {
    /// The configuration of the member at position `me`.
    ///
    /// # Errors
    /// Where the TLS library refuses the key; a key made by `webbft init` is never refused.
    pub(crate) fn new(view: Arc<View>, me: usize, key: &SigningKey) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let certified = Arc::new(certified_key(key)?);
        let lower = (0..me).map(|index| spki(&view.members[index].public_key)).collect();
        let verifier = PinnedKeys::new(lower, &provider);
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(
                &certified,
            ))));
        // Every stream proves both keys anew.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let clients = view.members.iter().map(|member| {
            let verifier = PinnedKeys::new(vec![spki(&member.public_key)], &provider);
            let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                    Arc::clone(&certified),
                )));
            client.resumption = Resumption::disabled();
            client.enable_sni = false;
            Ok::<_, Error>(Arc::new(client))
        });
        let clients = clients.collect::<Result<_, _>>()?;
        Ok(Self { server: Arc::new(server), clients, view, me })
    }

    /// The TLS end of a stream that this replica dialled to the member at `peer`.
    pub(crate) fn dial(&self, peer: usize) -> Result<Connection, Error> {
        // The name is not used: the verifier knows the key.
        let name = ServerName::try_from("replica").expect("a legal DNS name");
        ClientConnection::new(Arc::clone(&self.clients[peer]), name).map(Connection::from)
    }

    /// The TLS end of a stream that this replica accepted.
    pub(crate) fn accept(&self) -> Result<Connection, Error> {
        ServerConnection::new(Arc::clone(&self.server)).map(Connection::from)
    }

    /// Which member an accepted stream comes from, once its handshake is complete.
    pub(crate) fn dialled_by(&self, connection: &Connection) -> Option<usize> {
        let key = connection.peer_certificates()?.first()?;
        (0..self.me).find(|&index| spki(&self.view.members[index].public_key) == key.as_ref())
    }
}

fn spki(key: &Digest) -> Vec<u8> {
    [&SPKI_PREFIX[..], &key.0].concat()
}

fn certified_key(key: &SigningKey) -> Result<CertifiedKey, Error> {
    let pkcs8 = PrivatePkcs8KeyDer::from([&PKCS8_PREFIX[..], &key.secret()].concat());
    let signer = ring::sign::any_eddsa_type(&pkcs8)?;
    Ok(CertifiedKey::new(vec![CertificateDer::from(spki(&key.public()))], signer))
}

/// Accepts the holders of a few known keys.
#[derive(Debug)]
struct PinnedKeys {
    /// As SubjectPublicKeyInfo.
    keys: Vec<Vec<u8>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedKeys {
    fn new(keys: Vec<Vec<u8>>, provider: &CryptoProvider) -> Self {
        Self { keys, algorithms: provider.signature_verification_algorithms }
    }

    fn check(&self, key: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        if others.is_empty() && self.keys.iter().any(|known| known == key.as_ref()) {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        rustls::crypto::verify_tls13_signature_with_raw_key(
            message,
            &key,
            signature,
            &self.algorithms,
        )
    }
}

fn only_tls13<T>() -> Result<T, Error> {
    Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic))
}

impl ServerCertVerifier for PinnedKeys {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(key, others).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for PinnedKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(key, others).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{signing_key, view};

    /// Runs a handshake in memory; the first error ends it.
    fn shake(client: &mut Connection, server: &mut Connection) -> Result<(), Error> {
        for _ in 0..10 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                server.read_tls(&mut bytes).unwrap();
                server.process_new_packets()?;
            }
            std::mem::swap(&mut *client, &mut *server);
        }
        Ok(())
    }

    fn tls(me: usize, key: u8) -> PeerTls {
        PeerTls::new(Arc::new(view(4, 1)), me, &signing_key(key)).unwrap()
    }

    #[test]
    fn members_recognise_each_other() {
        let (mut client, mut server) = (tls(1, 1).dial(3).unwrap(), tls(3, 3).accept().unwrap());
        shake(&mut client, &mut server).unwrap();
        assert!(!client.is_handshaking() && !server.is_handshaking());
        assert_eq!(tls(3, 3).dialled_by(&server), Some(1));
    }

    #[test]
    fn a_wrong_key_is_refused_on_either_side() {
        let refused = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        // The one who answers at member 3's address holds another key.
        let (mut client, mut server) = (tls(1, 1).dial(3).unwrap(), tls(3, 9).accept().unwrap());
        assert_eq!(shake(&mut client, &mut server), Err(refused.clone()));
        // The one who dials is no member.
        let (mut client, mut server) = (tls(1, 9).dial(3).unwrap(), tls(3, 3).accept().unwrap());
        assert_eq!(shake(&mut client, &mut server), Err(refused.clone()));
        // A member dials that ought to be dialled.
        let (mut client, mut server) = (tls(3, 3).dial(1).unwrap(), tls(1, 1).accept().unwrap());
        assert_eq!(shake(&mut client, &mut server), Err(refused));
    }
}
