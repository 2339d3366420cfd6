//! Connections: where a replica is, TCP, and TLS for `wss://` members.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::http::Uri;
use webbft_protocol::membership::View;

use crate::config::Roots;
use crate::error::StartError;

/// What bytes go through.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where a replica is.
#[derive(Clone)]
pub(crate) struct Target {
    /// The member's own URL.
    pub(super) url: String,
    host: String,
    port: u16,
    /// Host and port as HTTP's `Host` wants them.
    pub(super) authority: String,
    /// The path of the HTTP transport.
    pub(super) http_path: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// One for each member.
    pub(crate) fn all(view: &View, roots: &Roots) -> Result<Vec<Self>, StartError> {
        let mut connector = None;
        let mut targets = Vec::new();
        for member in &view.members {
            let wrong = |reason: &str| StartError::Url {
                id: member.id,
                url: member.url.clone(),
                reason: reason.to_owned(),
            };
            let uri: Uri = member.url.parse().map_err(|_| wrong("this is not a URL"))?;
            let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
            let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
            let secure = uri.scheme_str() == Some("wss");
            let tls = if secure {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| wrong("no certificate can be for this host"))?;
                let connector = match &connector {
                    Some(connector) => connector,
                    None => connector.insert(tls(roots)?),
                };
                Some((TlsConnector::clone(connector), name))
            } else {
                None
            };
            targets.push(Self {
                url: member.url.clone(),
                host,
                port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
                authority: authority.to_string(),
                http_path: http_path(uri.path()),
                tls,
            });
        }
        Ok(targets)
    }

    /// A connection, secured where the URL says so.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        })
    }
}

/// The path of a replica's HTTP transport, beside that of its WebSocket.
fn http_path(path: &str) -> String {
    let parent = path.trim_end_matches('/');
    let parent = parent.rsplit_once('/').map_or("", |(parent, last)| match last {
        "ws" => parent,
        _ => path.trim_end_matches('/'),
    });
    format!("{parent}/http")
}

fn tls(roots: &Roots) -> Result<TlsConnector, StartError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            // Those that cannot be read are no reason to do without the others.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(StartError::Roots("the system has none; give some".to_owned()));
            }
        }
        Roots::Custom(certificates) => {
            for certificate in certificates {
                let added = store.add(certificate.clone());
                added.map_err(|error| StartError::Roots(error.to_string()))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError::Roots(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::http_path;

    #[test]
    fn http_is_beside_the_websocket() {
        for (path, expected) in [
            ("/ws", "/http"),
            ("/", "/http"),
            ("/replica/0/ws", "/replica/0/http"),
            ("/replica/0/ws/", "/replica/0/http"),
            ("/replica/0", "/replica/0/http"),
            ("/news", "/news/http"),
        ] {
            assert_eq!(http_path(path), expected, "{path}");
        }
    }
}
