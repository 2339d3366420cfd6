//! `wss://` members.

#![expect(clippy::unwrap_used, reason = "a test: what cannot be set up fails it")]

#[allow(dead_code, reason = "shared by tests")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use support::{Behaviour, Cluster};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use webbft_client::{Client, Code, Config, ConnectError, Roots, StartError};

/// A certificate for this machine, its own authority, in PEM, and what accepts with it.
fn certificate() -> (String, TlsAcceptor) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    (certified.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// Puts TLS before every replica; the view names what is before it.
async fn secure(cluster: &mut Cluster, acceptor: &TlsAcceptor) {
    for member in &mut cluster.view.members {
        let replica = member.url.trim_start_matches("ws://").trim_end_matches("/ws").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        member.url = format!("wss://localhost:{}/ws", listener.local_addr().unwrap().port());
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, replica) = (acceptor.clone(), replica.clone());
                tokio::spawn(async move {
                    // A client that does not trust us says so and goes.
                    let Ok(mut outer) = acceptor.accept(stream).await else { return };
                    let mut inner = TcpStream::connect(replica).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                });
            }
        });
    }
}

#[tokio::test]
async fn a_trusted_certificate_is_needed() {
    let mut cluster = Cluster::start([Behaviour::Honest; 4]).await;
    let (pem, acceptor) = certificate();
    secure(&mut cluster, &acceptor).await;
    let roots = Roots::from_pem(pem.as_bytes()).unwrap();
    let client = Client::connect(Config { roots, ..Config::new(cluster.view.clone()) }).await;
    let client = client.unwrap();
    assert_eq!(client.invoke("secret").await.unwrap().result, "secret");

    let (other, _) = certificate();
    let roots = Roots::from_pem(other.as_bytes()).unwrap();
    let mut config = Config { roots, ..Config::new(cluster.view.clone()) };
    config.options.call_timeout = Duration::from_millis(300);
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoQuorum(_)), "{error}");
    assert_eq!(error.code(), Code::Offline);
}

#[test]
fn what_is_no_certificate_is_refused() {
    for wrong in ["", "-----BEGIN CERTIFICATE-----\n"] {
        let error = Roots::from_pem(wrong.as_bytes()).unwrap_err();
        assert!(matches!(error, StartError::Roots(_)), "{error}");
    }
}
