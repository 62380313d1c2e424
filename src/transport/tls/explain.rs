//! Why TLS did not come about, or ended, in words, with what to do about it.

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error};

use super::trust::Trust;

/// In words.
pub(super) fn why(error: &Error, server: &ServerName<'_>, trust: &Trust) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error, server, trust),
        Error::AlertReceived(alert) => said(*alert, server),
        Error::InvalidMessage(_) => {
            "what answers does not speak TLS: leave out tls=, or take the port on which it does".to_owned()
        }
        Error::PeerIncompatible(_) => format!("it has no TLS that is used here, 1.2 or 1.3: {error}"),
        other => format!("TLS failed: {other}"),
    }
}

fn certificate(error: &CertificateError, server: &ServerName<'_>, trust: &Trust) -> String {
    let server = server.to_str();
    match error {
        // One that was signed with another key than the authority of that name has, is not signed by it.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let nobody = if matches!(trust, Trust::These(_)) { "anyone in ca=" } else { "anyone this system trusts" };
            format!(
                "its certificate is not signed by {nobody}: give ca= with the certificate of who signed it \
                 (its own, if it signed itself), or verify=False to take whoever answers"
            )
        }
        CertificateError::NotValidForName => not_for(&server, ""),
        CertificateError::NotValidForNameContext { presented, .. } => not_for(&server, &names(presented)),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let ended = match error {
                CertificateError::ExpiredContext { time, not_after } => {
                    format!(" {} days ago", time.as_secs().saturating_sub(not_after.as_secs()) / 86_400)
                }
                _ => String::new(),
            };
            format!("its certificate ended{ended}: renew it, set this machine's clock right, or give verify=False")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: set the clocks right, this machine's or that of who made it".to_owned()
        }
        other => format!(
            "its certificate is not accepted ({}): if it is known to be the instrument's, give it as ca=, \
             or verify=False to take whoever answers",
            Plainly(other)
        ),
    }
}

fn not_for(server: &str, names: &str) -> String {
    let names = if names.is_empty() { "names nobody" } else { names };
    format!(
        "its certificate {names} and is not for {server}: give server_name= with a name that it has, \
         or verify=False to take whoever answers"
    )
}

/// rustls writes `DnsName("scale.lab")` and `IpAddress(10.0.0.7)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').to_owned()
    };
    if presented.is_empty() {
        return String::new();
    }
    format!("is for {}", presented.iter().map(bare).collect::<Vec<_>>().join(", "))
}

struct Plainly<'a>(&'a CertificateError);

impl std::fmt::Display for Plainly<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            CertificateError::Other(inner) => write!(f, "{}", inner.0),
            other => write!(f, "{other}"),
        }
    }
}

/// What the other side said when it hung up.
fn said(alert: AlertDescription, server: &ServerName<'_>) -> String {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired => "it wants a certificate of ours: give cert= and key=".to_owned(),
        A::HandshakeFailure => {
            "it found no way to speak TLS with us: other versions or ciphers, or it wants a certificate of ours \
             (cert= and key=)"
                .to_owned()
        }
        A::ProtocolVersion | A::InsufficientSecurity => {
            "it has no TLS that is used here, 1.2 or 1.3, with ciphers that are safe".to_owned()
        }
        A::UnknownCA
        | A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::AccessDenied => format!("it does not accept our certificate ({alert:?}): give another as cert= and key="),
        A::UnrecognisedName => format!("it does not answer to the name {}: give server_name=", server.to_str()),
        other => format!("it ended TLS with the alert {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_says_what_to_do() {
        let server = ServerName::try_from("scale.lab").unwrap();
        let why = |alert| why(&Error::AlertReceived(alert), &server, &Trust::System);
        assert!(why(AlertDescription::CertificateRequired).ends_with("give cert= and key="));
        assert!(why(AlertDescription::UnknownCA).starts_with("it does not accept our certificate (UnknownCA)"));
        assert!(why(AlertDescription::UnrecognisedName).contains("scale.lab"));
        assert!(why(AlertDescription::DecodeError).ends_with("DecodeError"));
    }

    #[test]
    fn names_are_shown_as_they_are_written() {
        let presented = ["DnsName(\"scale.lab\")".to_owned(), "IpAddress(10.0.0.7)".to_owned()];
        assert_eq!(names(&presented), "is for scale.lab, 10.0.0.7");
        assert!(not_for("here", &names(&[])).starts_with("its certificate names nobody and is not for here"));
    }
}
