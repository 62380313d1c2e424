//! Certificates made on the spot, and TLS servers that have them.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};

use labtether::error::OpenError;
use labtether::transport::Opened;
use labtether::transport::tcp::{TcpSettings, address, open_tcp};
use labtether::transport::tls::{Pem, Tls, TlsSettings};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::{Pipe, soon};

pub(crate) type Served = StreamOwned<ServerConnection, TcpStream>;

/// A certificate that signed itself, as instruments have them, and its key.
pub(crate) struct Identity {
    pub(crate) cert: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

impl Identity {
    /// Most tools mark a certificate that signs itself as fit for signing others.
    pub(crate) fn new(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Identity { cert: params.self_signed(&key).unwrap(), key }
    }

    pub(crate) fn here() -> Identity {
        Identity::new(&["127.0.0.1"], |_| ())
    }

    /// For a server that is not an authority, signed by this one.
    pub(crate) fn signs(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &self.cert, &self.key).unwrap();
        Identity { cert, key }
    }

    pub(crate) fn pem(&self) -> Option<Pem> {
        Some(Pem { label: "ca='lab.pem'".to_owned(), text: self.cert.pem().into_bytes() })
    }

    pub(crate) fn both(&self) -> Option<Pem> {
        let text = format!("{}{}", self.key.serialize_pem(), self.cert.pem());
        Some(Pem { label: "cert='me.pem'".to_owned(), text: text.into_bytes() })
    }

    pub(crate) fn server(&self) -> ServerConfig {
        self.server_for(&[&rustls::version::TLS13, &rustls::version::TLS12], None)
    }

    pub(crate) fn server_for(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        clients: Option<&Identity>,
    ) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.cert.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes()).unwrap();
        builder.with_single_cert(vec![self.cert.der().clone()], key).unwrap()
    }
}

pub(crate) fn trusting(ca: Option<Pem>) -> TlsSettings {
    TlsSettings { ca, cert: None, key: None, verify: true, server_name: "127.0.0.1".to_owned() }
}

pub(crate) fn settings(tls: TlsSettings) -> TcpSettings {
    TcpSettings { tls: Some(Arc::new(Tls::new(tls).unwrap())), ..TcpSettings::default() }
}

/// One connection, on a thread of its own.
pub(crate) fn served<T: Send + 'static>(
    config: ServerConfig,
    talk: impl FnOnce(Served) -> T + Send + 'static,
) -> (u16, JoinHandle<T>) {
    plain(move |mut socket| {
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        // Whether it comes about shows when it is used.
        let _ = connection.complete_io(&mut socket);
        talk(StreamOwned::new(connection, socket))
    })
}

pub(crate) fn plain<T: Send + 'static>(talk: impl FnOnce(TcpStream) -> T + Send + 'static) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, spawn(move || talk(listener.accept().unwrap().0)))
}

pub(crate) async fn open(port: u16, settings: &TcpSettings) -> Result<Opened, OpenError> {
    soon(open_tcp(&[address("127.0.0.1", port).unwrap()], settings)).await
}

/// An open connection to an instrument that `talk`s.
pub(crate) async fn connection<T: Send + 'static>(
    talk: impl FnOnce(Served) -> T + Send + 'static,
) -> (Pipe, JoinHandle<T>) {
    let identity = Identity::here();
    let (port, instrument) = served(identity.server(), talk);
    let opened = open(port, &settings(trusting(identity.pem()))).await.unwrap();
    assert_eq!((opened.port, opened.notices), (format!("127.0.0.1:{port}"), Vec::new()));
    (opened.pipe, instrument)
}
