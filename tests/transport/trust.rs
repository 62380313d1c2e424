//! Whom TLS trusts, on real loopback sockets, against rustls as a server.

use std::io::{Read, Write};

use labtether::error::OpenKind;
use labtether::transport::tls::{Pem, Tls, TlsSettings};
use rcgen::{CertificateParams, DnType, IsCa, date_time_ymd};
use rustls::ServerConfig;

use crate::identity::{Identity, open, plain, served, settings, trusting};
use crate::{failure, read, read_exactly};

/// Why a connection with these settings to a server with that certificate does not come about.
async fn refused(config: ServerConfig, tls: TlsSettings) -> String {
    let (port, server) = served(config, |mut stream| stream.read(&mut [0]).map(drop));
    let error = failure(open(port, &settings(tls)).await);
    assert_eq!(error.kind, OpenKind::Refused);
    assert!(server.join().unwrap().is_err(), "the server took it for a connection");
    error.why
}

#[tokio::test]
async fn a_certificate_that_nobody_known_has_signed_is_refused() {
    let other = Identity::here();
    let elsewhere = Identity::new(&["127.0.0.1"], |params| params.distinguished_name.push(DnType::CommonName, "x"));
    // Nobody known; somebody of a known name, with another key; an authority that is itself the instrument.
    for server in [elsewhere.signs(&["127.0.0.1"]), Identity::here().signs(&["127.0.0.1"])] {
        let why = refused(server.server(), trusting(other.pem())).await;
        assert!(why.starts_with("its certificate is not signed by anyone in ca=: give ca= "), "{why}");
        assert!(why.contains("verify=False"));
    }
    let why = refused(Identity::here().server(), trusting(other.pem())).await;
    assert!(why.starts_with("its certificate is not accepted (") && why.contains("give it as ca="), "{why}");
}

#[tokio::test]
async fn the_system_knows_no_self_made_certificates() {
    let leaf = Identity::here().signs(&["127.0.0.1"]);
    let (port, server) = served(leaf.server(), |mut stream| stream.read(&mut [0]).map(drop));
    let error = failure(open(port, &settings(trusting(None))).await);
    assert_eq!(error.kind, OpenKind::Refused);
    // A system without any certificates says that.
    assert!(error.why.contains("anyone this system trusts: give ca=") || error.why.contains("no certificates at all"));
    assert!(error.why.contains("give ca="), "{}", error.why);
    drop(server);
}

#[tokio::test]
async fn a_certificate_of_a_known_authority_or_known_itself_is_believed_for_its_names_only() {
    let lab = Identity::new(&[], |_| ());
    let leaf = lab.signs(&["127.0.0.1", "scale.lab"]);
    let own = Identity::new(&["scale.lab"], |_| ());
    let simple = Identity::new(&["scale.lab"], |params| params.is_ca = IsCa::NoCa);
    for (server, ca) in [(&leaf, &lab), (&own, &own), (&simple, &simple)] {
        let named = TlsSettings { server_name: "scale.lab".to_owned(), ..trusting(ca.pem()) };
        let (port, instrument) = served(server.server(), |mut stream| stream.write_all(b"hi").unwrap());
        let mut host = open(port, &settings(named)).await.unwrap().pipe;
        assert_eq!(read_exactly(&mut host, 2).await, b"hi");
        instrument.join().unwrap();
        let wrong = TlsSettings { server_name: "pump.lab".to_owned(), ..trusting(ca.pem()) };
        let why = refused(server.server(), wrong).await;
        let expected = "and is not for pump.lab: give server_name= with a name that it has, or verify=False";
        assert!(why.contains("scale.lab") && why.contains(expected), "{why}");
    }
}

#[tokio::test]
async fn an_old_certificate_is_refused_even_if_it_is_known() {
    let old = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 2);
    let own = Identity::new(&["127.0.0.1"], old);
    let why = refused(own.server(), trusting(own.pem())).await;
    assert!(why.starts_with("its certificate ended ") && why.contains(" days ago: renew it"), "{why}");
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(2999, 1, 1);
    let own = Identity::new(&["127.0.0.1"], early);
    let why = refused(own.server(), trusting(own.pem())).await;
    assert!(why.starts_with("its certificate is not valid yet"), "{why}");
}

#[tokio::test]
async fn who_does_not_verify_is_warned_each_time() {
    let old = Identity::new(&["elsewhere.lab"], |params| params.not_after = date_time_ymd(2020, 1, 2));
    let anyone = settings(TlsSettings { verify: false, ..trusting(None) });
    for _ in 0..2 {
        let (port, instrument) = served(old.server(), |mut stream| stream.write_all(b"hi").unwrap());
        let mut opened = open(port, &anyone).await.unwrap();
        assert!(opened.notices.concat().starts_with("verify=False: whoever answers"), "{:?}", opened.notices);
        assert_eq!(read_exactly(&mut opened.pipe, 2).await, b"hi");
        instrument.join().unwrap();
    }
}

#[tokio::test]
async fn an_instrument_that_asks_who_we_are_is_told() {
    let (own, me) = (Identity::here(), Identity::here());
    // The client's certificate may not be one for signing: rustls as a server has no exceptions.
    let lab = Identity::new(&[], |_| ());
    let known = lab.signs(&["me.lab"]);
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let server = || own.server_for(versions, Some(&lab));
        let named = TlsSettings { cert: known.both(), ..trusting(own.pem()) };
        let (port, instrument) = served(server(), |mut stream| stream.write_all(b"hi").unwrap());
        let mut host = open(port, &settings(named)).await.unwrap().pipe;
        assert_eq!(read_exactly(&mut host, 2).await, b"hi");
        instrument.join().unwrap();
        for (cert, expected) in [(None, "certificate of ours"), (me.both(), "does not accept our certificate")] {
            let (port, instrument) = served(server(), |mut stream| stream.read(&mut [0]).map(drop));
            // TLS 1.2 asks before it is done, 1.3 looks at the answer after that.
            let why = match open(port, &settings(TlsSettings { cert, ..trusting(own.pem()) })).await {
                Ok(mut opened) => read(&mut opened.pipe).await.unwrap_err().to_string(),
                Err(error) => error.why,
            };
            assert!(why.contains(expected), "{why}");
            assert!(instrument.join().unwrap().is_err());
        }
    }
}

#[tokio::test]
async fn what_does_not_speak_tls_is_told_so() {
    let any = || settings(trusting(Identity::here().pem()));
    let (port, _server) = plain(|mut socket| {
        socket.write_all(b"220 welcome to the balance\r\n").unwrap();
        socket.read(&mut [0; 1000]).map(drop)
    });
    let error = failure(open(port, &any()).await);
    assert_eq!(error.kind, OpenKind::Refused);
    assert!(error.why.starts_with("what answers does not speak TLS"), "{}", error.why);
    let (port, _server) = plain(|mut socket| socket.read(&mut [0; 1000]).map(drop));
    let error = failure(open(port, &any()).await);
    assert_eq!(error.kind, OpenKind::Refused);
    assert!(error.why.starts_with("the connection broke while TLS was being agreed on"), "{}", error.why);
}

#[test]
fn settings_that_make_no_sense_are_named_before_anything_is_opened() {
    let why = |settings: TlsSettings| Tls::new(settings).unwrap_err();
    let text = |label: &str, text: &str| Some(Pem { label: label.to_owned(), text: text.as_bytes().to_vec() });
    let (me, other) = (Identity::here(), Identity::here());
    let ca = |pem| why(trusting(pem));
    assert_eq!(ca(text("ca='x.pem'", "")), "ca='x.pem': there is no PEM certificate in it");
    assert!(ca(text("ca='x.crt'", "0\u{3}")).ends_with("(it looks like DER: openssl x509 -inform der)"));
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    assert!(ca(text("ca='x.pem'", cut)).starts_with("ca='x.pem': not readable as PEM: "));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(ca(text("ca='x.pem'", nonsense)).starts_with("ca='x.pem': a certificate in it is damaged: "));
    let with = |cert, key| why(TlsSettings { cert, key, ..trusting(None) });
    assert_eq!(with(me.pem(), None), "ca='lab.pem': there is no PEM private key in it");
    assert_eq!(with(None, me.both()), "key= is of no use without cert=");
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(with(me.pem(), text("key='k.pem'", locked)).starts_with("key='k.pem': the private key is encrypted"));
    let key = text("key='k.pem'", &other.key.serialize_pem());
    assert_eq!(with(me.pem(), key), "key='k.pem': the private key is not that of the certificate in ca='lab.pem'");
    let nameless = TlsSettings { server_name: "not a name".to_owned(), ..trusting(None) };
    assert!(why(nameless).starts_with("\"not a name\" is neither a host name nor an address"));
    Tls::new(TlsSettings { server_name: "[::1]".to_owned(), ..trusting(None) }).unwrap();
    Tls::new(TlsSettings { server_name: "my_scale".to_owned(), ..trusting(None) }).unwrap();
}
