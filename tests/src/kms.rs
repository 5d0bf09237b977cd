//! A key management service of a test's own: Kubernetes' KMS v2 over a Unix socket.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// The service; it goes on until the test ends.
pub struct Service {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    key: String,
    /// What was sealed, by the text that stands for it.
    sealed: HashMap<Vec<u8>, Vec<u8>>,
}

impl Service {
    /// Serves on a socket, with a key of this name.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(socket: &Path, key: &str) -> Self {
        let state = Arc::new(Mutex::new(State { key: key.to_owned(), ..State::default() }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(socket).expect("a socket")
        };
        let served = state.clone();
        std::thread::spawn(move || runtime.block_on(serve(listener, served)));
        Self { socket: socket.to_owned(), state }
    }

    /// Where it is, as an EncryptionConfiguration says it.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Seals with a key of another name from now on.
    pub fn set_key(&self, key: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).key = key.to_owned();
    }
}

async fn serve(listener: tokio::net::UnixListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let state = state.clone();
            async move {
                let method = request.uri().path().rsplit('/').next().unwrap_or("").to_owned();
                let bytes = request.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
                // A byte that says whether it is compressed and four with the length come before the message.
                let message = answer(&method, bytes.get(5..).unwrap_or_default(), &state);
                let mut framed = vec![0];
                framed.extend((message.len() as u32).to_be_bytes());
                framed.extend(message);
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                let body = Full::new(Bytes::from(framed))
                    .with_trailers(async move { Some(Ok::<_, std::convert::Infallible>(trailers)) });
                let response = http::Response::builder().header("content-type", "application/grpc");
                response.body(body).map_err(|e| e.to_string())
            }
        });
        let io = TokioIo::new(stream);
        tokio::spawn(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service),
        );
    }
}

/// A field of bytes, all shorter than 128.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, bytes.len() as u8];
    out.extend_from_slice(bytes);
    out
}

/// The first field of a message.
fn first(message: &[u8]) -> Vec<u8> {
    let length = message.get(1).copied().map_or(0, usize::from);
    message.get(2..2 + length).unwrap_or_default().to_vec()
}

fn answer(method: &str, request: &[u8], state: &Mutex<State>) -> Vec<u8> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let key = state.key.clone();
    match method {
        "Status" => [field(1, b"v2"), field(2, b"ok"), field(3, key.as_bytes())].concat(),
        "Encrypt" => {
            let name = format!("sealed-{key}-{}", state.sealed.len()).into_bytes();
            state.sealed.insert(name.clone(), first(request));
            [field(1, &name), field(2, key.as_bytes())].concat()
        }
        _ => field(1, state.sealed.get(&first(request)).map_or(&[][..], Vec::as_slice)),
    }
}
