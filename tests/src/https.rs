//! A small HTTPS server of a test's own: an issuer of tokens, a webhook.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// A CA that signs certificates for tests.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a CA").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn sign(&self, mut params: CertificateParams, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// Writes a kubeconfig with a client certificate of this name, for a server and its CA.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn client_kubeconfig(&self, file: &Path, name: &str, like: &Path) {
        use base64::Engine;
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = self.sign(params, name);
        let text = std::fs::read_to_string(like).expect("a kubeconfig");
        let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
        let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
        let user = &mut config["users"][0]["user"];
        user["client-certificate-data"] = encode(certificate.pem()).into();
        user["client-key-data"] = encode(key.serialize_pem()).into();
        std::fs::write(file, config.to_string()).expect("a kubeconfig");
    }
}

/// A request to it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The path and query.
    pub path: String,
    /// The body, if it is JSON.
    pub body: Value,
}

/// Serves until the test ends. The handler answers with JSON; `None` is 404. Says where it is.
///
/// # Panics
/// If it cannot listen.
pub fn serve(
    authority: &Authority,
    answer: impl Fn(&Asked) -> Option<Value> + Send + Sync + 'static,
) -> String {
    let (certificate, key) =
        authority.sign(CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters"), "test");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a certificate");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let (config, answer) = (config.clone(), answer.clone());
            // Whoever hangs up early is no failure of the test.
            std::thread::spawn(move || converse(stream, config, &*answer).unwrap_or(()));
        }
    });
    url
}

fn converse(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    answer: &dyn Fn(&Asked) -> Option<Value>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let header = header.trim().to_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let asked = Asked { path, body: serde_json::from_slice(&body).unwrap_or(Value::Null) };
        let (status, text) = match answer(&asked) {
            Some(value) => ("200 OK", value.to_string()),
            None => ("404 Not Found", String::from("{}")),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().write_all(text.as_bytes())?;
        stream.get_mut().flush()?;
    }
}
