use super::*;

const NOW: i64 = 1_800_000_000;

fn options(dir: &Path) -> PkiOptions {
    PkiOptions {
        dir: dir.to_owned(),
        cluster_domain: Some("example.test".to_owned()),
        ..PkiOptions::default()
    }
}

fn open(dir: &Path) -> Pki {
    Pki::open(options(dir), NOW).unwrap()
}

fn verify(pki: &Pki, pem: &str, now: i64) -> Result<Option<Arc<VerifiedPeer>>, PeerError> {
    let trust = ClientTrust::new([pki.authority().certificate()]).unwrap();
    trust.verify(&certificates_of_pem(pem.as_bytes()).unwrap(), now)
}

#[test]
fn a_second_start_reads_what_the_first_made() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let server = std::fs::read(dir.path().join("server.crt")).unwrap();
    let second = open(dir.path());
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_eq!(first.secrets()[0].secret.to_text(), second.secrets()[0].secret.to_text());
    assert_eq!(server, std::fs::read(dir.path().join("server.crt")).unwrap());
    assert_eq!(first.admin().unwrap().certificate, second.admin().unwrap().certificate);
}

#[cfg(unix)]
#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    let mut found = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        found += 1;
    }
    assert_eq!(found, 7);
}

#[test]
fn a_broken_file_is_named_and_kept() {
    for name in ["ca.crt", "ca.key", "server.crt", "server.key", "admin.crt", "plane.key"] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path());
        let path = dir.path().join(name);
        std::fs::write(&path, "broken").unwrap();
        let error = Pki::open(options(dir.path()), NOW).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"broken");
    }
}

#[test]
fn a_certificate_without_its_key_is_an_error() {
    for name in ["ca.key", "server.key", "admin.key"] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path());
        std::fs::remove_file(dir.path().join(name)).unwrap();
        let error = Pki::open(options(dir.path()), NOW).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_new_name_renews_the_serving_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    let ca = open(dir.path()).ca_pem().to_owned();
    let mut changed = options(dir.path());
    changed.names.push("api.example.test".to_owned());
    changed.addresses.push("192.0.2.7".parse().unwrap());
    let pki = Pki::open(changed, NOW).unwrap();
    assert_eq!(pki.ca_pem(), ca);
    let leaf = authority::Leaf::parse(&std::fs::read(dir.path().join("server.crt")).unwrap()).unwrap();
    assert!(leaf.covers(
        &["api.example.test".to_owned(), "*.example.test".to_owned(), "kubernetes.default.svc".to_owned()],
        &["192.0.2.7".parse().unwrap(), "::1".parse().unwrap()],
    ));
}

#[test]
fn what_was_made_while_the_clock_was_ahead_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut pki = open(dir.path());
    assert!(pki.renew_if_due(NOW + 400 * DAY).unwrap());
    assert!(pki.renew_if_due(NOW).unwrap(), "nobody can use what begins in a year");
    assert!(!pki.renew_if_due(NOW).unwrap());
}

#[test]
fn certificates_are_renewed_before_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut pki = open(dir.path());
    let old_ca = pki.authority().certificate().clone();
    assert!(!pki.renew_if_due(NOW + 200 * DAY).unwrap());
    assert!(pki.renew_if_due(NOW + 300 * DAY).unwrap());
    assert!(!pki.renew_if_due(NOW + 300 * DAY).unwrap());
    let later = NOW + 8 * 365 * DAY;
    assert!(pki.renew_if_due(later).unwrap());
    assert_ne!(pki.authority().certificate(), &old_ca);
    // Old and new trust each other's: the key is the same.
    let admin = pki.admin().unwrap();
    let old = ClientTrust::new([&old_ca]).unwrap();
    assert!(
        old.verify(&certificates_of_pem(admin.certificate.as_bytes()).unwrap(), later).unwrap().is_some()
    );
}

#[test]
fn a_client_certificate_says_who_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(dir.path());
    let groups = ["a", "b", "c"].map(str::to_owned);
    let ttl = std::time::Duration::from_secs(3600);
    let scope = VcpScope { uid: "uid-1".into(), epoch: 2, generation: Some("x".into()) };
    let of = ClientSubject { uid: "uid-jane", ..ClientSubject::new("jane", &groups) };
    let issued = pki.issue_client(Some(&scope), &of, ttl, NOW).unwrap();
    let peer = verify(&pki, &issued.certificate, NOW).unwrap().unwrap();
    assert_eq!(peer.user.username, "jane");
    assert_eq!(peer.user.uid, "uid-jane");
    assert_eq!(peer.user.groups, groups);
    assert_eq!(peer.scope, PeerScope::Vcp(scope));
    assert!(peer.user.extra[crate::user::CREDENTIAL_ID][0].starts_with("X509SHA256="));
    assert!(!format!("{issued:?}").contains("PRIVATE KEY"));

    let admin = verify(&pki, &pki.admin().unwrap().certificate, NOW).unwrap().unwrap();
    assert_eq!((admin.scope.clone(), admin.user.groups.clone()), (PeerScope::Root, vec![MASTERS.to_owned()]));
    assert_eq!(admin.user.uid.len(), 36, "{}", admin.user.uid);
}

#[test]
fn expired_foreign_and_server_certificates_are_refused() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (pki, other) = (open(dir.path()), open(other_dir.path()));
    let ttl = std::time::Duration::from_secs(3600);
    let issued = pki.issue_client(None, &ClientSubject::new("jane", &[]), ttl, NOW).unwrap();
    assert!(verify(&pki, &issued.certificate, NOW + 3601).is_err());
    assert!(verify(&pki, &issued.certificate, NOW - 3600).is_err());
    assert!(verify(&other, &issued.certificate, NOW).is_err());
    let server = std::fs::read_to_string(dir.path().join("server.crt")).unwrap();
    assert!(verify(&pki, &server, NOW).is_err());
    let trust = ClientTrust::default();
    assert!(trust.verify(&certificates_of_pem(issued.certificate.as_bytes()).unwrap(), NOW).is_err());
    assert!(trust.verify(&[], NOW).unwrap().is_none());
}

#[test]
fn a_remembered_certificate_still_expires_and_is_forgotten_with_its_authority() {
    let dir = tempfile::tempdir().unwrap();
    let pki = open(dir.path());
    let issued = pki
        .issue_client(None, &ClientSubject::new("jane", &[]), std::time::Duration::from_secs(60), NOW)
        .unwrap();
    let chain = certificates_of_pem(issued.certificate.as_bytes()).unwrap();
    let trust = ClientTrust::new([pki.authority().certificate()]).unwrap();
    assert!(trust.verify(&chain, NOW).unwrap().is_some());
    assert!(trust.verify(&chain, NOW + 61).is_err());
    trust.replace([]).unwrap();
    assert!(trust.verify(&chain, NOW).is_err());
}

#[test]
fn the_server_config_speaks_http2() {
    let dir = tempfile::tempdir().unwrap();
    let config = server_config(open(dir.path()).resolver()).unwrap();
    assert_eq!(config.alpn_protocols[0], b"h2");
}

/// Moves bytes between the two ends until both are done with the handshake.
fn shake(client: &mut rustls::ClientConnection, server: &mut rustls::ServerConnection) {
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut from = wire.as_slice();
        while !from.is_empty() {
            server.read_tls(&mut from).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut from = wire.as_slice();
        while !from.is_empty() {
            client.read_tls(&mut from).unwrap();
            client.process_new_packets().unwrap();
        }
    }
}

#[test]
fn a_handshake_hands_over_even_a_certificate_that_is_not_trusted() {
    use rustls::pki_types::PrivateKeyDer;
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Handshakes know only the real time.
    let now = kplane_machinery::time::Time::now().unix();
    let pki = Pki::open(options(dir.path()), now).unwrap();
    let other = Pki::open(options(other_dir.path()), now).unwrap();
    let server = Arc::new(server_config(pki.resolver()).unwrap());
    let trust = ClientTrust::new([pki.authority().certificate()]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pki.authority().certificate().clone()).unwrap();
    for (from, name, trusted) in [(&pki, "localhost", true), (&other, "demo.example.test", false)] {
        let issued = from
            .issue_client(None, &ClientSubject::new("jane", &[]), std::time::Duration::from_secs(60), now)
            .unwrap();
        let chain = certificates_of_pem(issued.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain, key)
            .unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut accepted = rustls::ServerConnection::new(server.clone()).unwrap();
        shake(&mut client, &mut accepted);
        assert!(!accepted.is_handshaking() && !client.is_handshaking());
        let verified = trust.verify(accepted.peer_certificates().unwrap(), now);
        assert_eq!(verified.is_ok(), trusted, "{name}");
    }
}

#[test]
fn a_rotated_secret_is_taken_up_by_who_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut pki = open(dir.path());
    assert!(!pki.reload_secrets().unwrap());
    Pki::rotate_secret(dir.path(), 3600, NOW).unwrap();
    assert!(pki.reload_secrets().unwrap());
    assert_eq!(pki.secrets().len(), 2);
    assert_eq!(open(dir.path()).secrets().len(), 2);
    std::fs::write(dir.path().join("plane.key"), "nope").unwrap();
    assert!(pki.reload_secrets().is_err());
    assert_eq!(pki.secrets().len(), 2);
}
