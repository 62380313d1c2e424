//! Whom a TLS connection trusts and who it says it is: from PEM texts, checked before anything is opened. No bytes are sent here.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore, SignatureScheme,
};

use crate::error::{OpenError, OpenKind};

/// A text of PEM, and what to call it in an error.
#[derive(Debug)]
pub struct Pem {
    /// The argument and, where it was one, the file.
    pub label: String,
    /// The text.
    pub text: Vec<u8>,
}

/// What is asked of a TLS connection.
#[derive(Debug)]
pub struct TlsSettings {
    /// The authorities to trust; `None`: the system's.
    pub ca: Option<Pem>,
    /// Our own certificate, and those that lead from it to an authority.
    pub cert: Option<Pem>,
    /// Its private key; `None`: it is with the certificate.
    pub key: Option<Pem>,
    /// Whether the other side has to prove who it is.
    pub verify: bool,
    /// The name that its certificate has to have.
    pub server_name: String,
}

/// Settings that make sense.
#[derive(Debug)]
pub struct Tls {
    pub(super) server: ServerName<'static>,
    trust: Trust,
    identity: Option<Arc<SingleCertAndKey>>,
    provider: Arc<CryptoProvider>,
    ready: OnceLock<Arc<ClientConfig>>,
}

/// Who is believed.
#[derive(Debug)]
pub(super) enum Trust {
    System,
    These(Vec<CertificateDer<'static>>),
    Anyone,
}

impl Tls {
    /// Checks the settings. Reads nothing.
    ///
    /// *Errors*: which setting is wrong, and why.
    pub fn new(settings: TlsSettings) -> Result<Tls, String> {
        let TlsSettings { ca, cert, key, verify, server_name } = settings;
        let provider = Arc::new(ring::default_provider());
        let bare = server_name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&server_name);
        let server = ServerName::try_from(bare.to_owned()).map_err(|_| {
            format!(
                "{server_name:?} is neither a host name nor an address: give server_name= as the certificate has it"
            )
        })?;
        let trust = match ca {
            _ if !verify => Trust::Anyone,
            None => Trust::System,
            Some(pem) => Trust::These(authorities(&pem)?),
        };
        let identity = match (&cert, &key) {
            (Some(cert), key) => Some(identity(cert, key.as_ref().unwrap_or(cert), &provider)?),
            (None, Some(_)) => return Err("key= is of no use without cert=".to_owned()),
            (None, None) => None,
        };
        Ok(Tls { server, trust, identity, provider, ready: OnceLock::new() })
    }

    /// What goes to the log whenever it is opened.
    pub fn notice(&self) -> Option<String> {
        let said =
            "verify=False: whoever answers is taken for the instrument, and can read and change all that is said";
        matches!(self.trust, Trust::Anyone).then(|| said.to_owned())
    }

    pub(super) const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Whether [`Tls::prepare`] has been done.
    pub fn is_ready(&self) -> bool {
        self.ready.get().is_some()
    }

    /// Reads whom the system trusts, the first time, where that is asked. Blocks: call it on a thread of its own.
    ///
    /// *Errors*: the system trusts nobody.
    pub fn prepare(&self) -> Result<Arc<ClientConfig>, OpenError> {
        if let Some(config) = self.ready.get() {
            return Ok(Arc::clone(config));
        }
        let refused = |why: String| OpenError::new(OpenKind::Refused, why);
        let verifier: Arc<dyn ServerCertVerifier> = match &self.trust {
            Trust::Anyone => self.doorkeeper(LetsIn::Anyone),
            Trust::These(authorities) => {
                let roots = roots(authorities).map_err(|error| refused(error.to_string()))?;
                let chains = self.chains(roots).map_err(refused)?;
                self.doorkeeper(LetsIn::Known { chains, known: authorities.clone() })
            }
            Trust::System => {
                let found = rustls_native_certs::load_native_certs();
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                    let why = if errors.is_empty() { String::new() } else { format!(" ({})", errors.join("; ")) };
                    return Err(refused(format!("this system trusts no certificates at all{why}: give ca=")));
                }
                self.chains(roots).map_err(refused)?
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::<SingleCertAndKey>::clone(identity)),
            None => builder.with_no_client_auth(),
        };
        // Each connection shows its certificate: an instrument that was swapped is noticed.
        config.resumption = Resumption::disabled();
        Ok(Arc::clone(self.ready.get_or_init(|| Arc::new(config))))
    }

    fn doorkeeper(&self, lets_in: LetsIn) -> Arc<dyn ServerCertVerifier> {
        Arc::new(Doorkeeper { lets_in, provider: Arc::clone(&self.provider) })
    }

    fn chains(&self, roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, String> {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| error.to_string())
    }
}

fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    Ok(roots)
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("{}: not readable as PEM: {error}", pem.label);
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.text).collect();
    let found = found.map_err(|error| unreadable(&error))?;
    if found.is_empty() {
        // The two encodings of the same thing; 0x30 is how DER begins.
        let der = if pem.text.first() == Some(&0x30) { " (it looks like DER: openssl x509 -inform der)" } else { "" };
        return Err(format!("{}: there is no PEM certificate in it{der}", pem.label));
    }
    Ok(found)
}

fn authorities(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates(pem)?;
    roots(&found).map_err(|error| format!("{}: a certificate in it is damaged: {error}", pem.label))?;
    Ok(found)
}

fn identity(cert: &Pem, key: &Pem, provider: &CryptoProvider) -> Result<Arc<SingleCertAndKey>, String> {
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_slice(&key.text).map_err(|_| {
        if memchr::memmem::find(&key.text, b"ENCRYPTED").is_some() {
            return format!("{}: the private key is encrypted: openssl pkey writes it without a password", key.label);
        }
        format!("{}: there is no PEM private key in it", key.label)
    })?;
    match CertifiedKey::from_der(chain, private, provider) {
        Ok(certified) => Ok(Arc::new(SingleCertAndKey::from(certified))),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(format!("{}: the private key is not that of the certificate in {}", key.label, cert.label))
        }
        Err(error) => Err(format!("{}: not usable with {}: {error}", key.label, cert.label)),
    }
}

/// Who is let in. That whoever shows a certificate has its key is always proved.
#[derive(Debug)]
struct Doorkeeper {
    lets_in: LetsIn,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum LetsIn {
    /// Certificates that were given: as authorities, or as the instrument's own. A self-signed one is often marked as fit for signing, and
    /// then no chain may end with it; but who gives it as `ca` has said whom it belongs to.
    Known { chains: Arc<WebPkiServerVerifier>, known: Vec<CertificateDer<'static>> },
    /// `verify=False`: whoever has a certificate.
    Anyone,
}

impl ServerCertVerifier for Doorkeeper {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let LetsIn::Known { chains, known } = &self.lets_in else { return Ok(ServerCertVerified::assertion()) };
        match chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // Dates are looked at before uses (webpki), so that an old one does not come here.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if known.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
