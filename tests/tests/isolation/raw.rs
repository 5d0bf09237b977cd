//! A client that sends whatever it is told, byte by byte: a kind one would mend the request on its way.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// More of an answer is not read.
const MOST: usize = 8 << 20;

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// The status; 0 when the server closed the connection without one.
    pub code: u16,
    /// The header lines.
    pub head: String,
    /// The body, with chunk marks if it has them.
    pub body: String,
}

impl Raw {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Who connects: a client certificate, or nobody.
#[derive(Clone)]
pub struct Identity {
    config: Arc<ClientConfig>,
    port: u16,
}

impl Identity {
    /// With this certificate and key, in PEM.
    pub fn new(port: u16, ca: &str, pair: Option<(&str, &str)>) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.expect("a certificate")).expect("a CA");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots);
        let config = match pair {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .expect("a certificate");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        Self { config: Arc::new(config), port }
    }

    /// The same, speaking HTTP/2.
    pub fn http2(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config: Arc::new(config), port: self.port }
    }

    /// A connection; the name is that of the TLS handshake.
    pub fn connect(&self, server_name: &str) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|e| text(&e))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|e| text(&e))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|e| text(&e))?;
        let name = ServerName::try_from(server_name.to_owned()).map_err(|e| text(&e))?;
        let connection = ClientConnection::new(self.config.clone(), name).map_err(|e| text(&e))?;
        Ok(StreamOwned::new(connection, stream))
    }

    /// Sends these bytes, and reads what comes until the answer has begun: all of it, unless it is a stream.
    pub fn begin(&self, bytes: &[u8]) -> (StreamOwned<ClientConnection, TcpStream>, Raw) {
        let mut stream = self.connect("127.0.0.1").expect("a connection");
        stream.write_all(bytes).and_then(|()| stream.flush()).expect("a request");
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let count = stream.read(&mut chunk).expect("an answer");
            seen.extend_from_slice(&chunk[..count]);
            let begun = seen.windows(4).any(|window| window == b"\r\n\r\n");
            let goes_on = seen.starts_with(b"HTTP/1.1 200") || seen.starts_with(b"HTTP/1.1 101");
            if count == 0 || is_whole(&seen) || (begun && goes_on) {
                break;
            }
        }
        (stream, parsed(&seen))
    }

    /// Sends these bytes, with this name in the handshake, and reads one answer.
    pub fn exchange_as(&self, server_name: &str, bytes: &[u8]) -> Raw {
        let Ok(mut stream) = self.connect(server_name) else { return Raw::default() };
        // The server may refuse before it has read everything: what it said is still read.
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        read(&mut stream)
    }
}

/// Reads until the connection ends or the answer is whole.
fn read(stream: &mut impl Read) -> Raw {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
        if bytes.len() > MOST || is_whole(&bytes) {
            break;
        }
    }
    parsed(&bytes)
}

fn parsed(bytes: &[u8]) -> Raw {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Raw { code, head: head.to_owned(), body: body.to_owned() }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let body = &bytes[end + 4..];
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    match length.and_then(|length| length.trim().parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

/// A request with nothing added but what HTTP cannot do without.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        out.push_str("Host: 127.0.0.1\r\n");
    }
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        out.push_str(&format!("Content-Length: {}\r\n", body.len()));
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            out.push_str("Content-Type: application/json\r\n");
        }
    }
    out.push_str("Connection: close\r\n\r\n");
    out.push_str(body);
    out.into_bytes()
}
