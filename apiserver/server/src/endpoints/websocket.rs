//! A stream over WebSocket: one message an event, as `golang.org/x/net/websocket` serves it for upstream. What the client
//! sends is not listened to.

use bytes::{Buf, Bytes};
use futures::{SinkExt, Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use kplane_machinery::Status;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

use super::cx::{Cx, Upgrade};
use super::negotiate::Media;
use crate::body::{self, Answer};

const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
/// A client that cannot set headers, a browser, sends its token as a subprotocol that begins so.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";
/// A client has nothing to say but `close` and `pong`.
const MAX_RECEIVED: usize = 4096;

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
}

/// Whether a request asks for another protocol on its connection (`httpstream.IsUpgradeRequest`).
pub fn upgrades(headers: &HeaderMap) -> bool {
    let options = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    options.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
}

/// Whether a request asks for a WebSocket.
pub fn asked(headers: &HeaderMap) -> bool {
    text(headers, &header::UPGRADE).eq_ignore_ascii_case("websocket") && upgrades(headers)
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|p| !p.is_empty())
}

/// The bearer token among the subprotocols, in base64 without padding. It counts only where another subprotocol is
/// asked for beside it, since the token itself is never agreed on.
pub fn bearer(headers: &HeaderMap) -> Option<String> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    if !asked(headers) || !protocols(headers).any(|p| !p.starts_with(BEARER)) {
        return None;
    }
    let token = protocols(headers).find_map(|p| p.strip_prefix(BEARER))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok().filter(|token| !token.is_empty())
}

/// The subprotocols that are asked for without the bearer token, where there is one among them.
pub fn without_bearer(headers: &HeaderMap) -> Option<String> {
    if !protocols(headers).any(|p| p.starts_with(BEARER)) {
        return None;
    }
    Some(protocols(headers).filter(|p| !p.starts_with(BEARER)).collect::<Vec<_>>().join(", "))
}

/// Agrees to the WebSocket and sends it a stream of events, each chunk of which holds whole ones.
pub fn answer(
    cx: &Cx,
    media: Media,
    chunks: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Answer, Status> {
    let headers = &cx.headers;
    let refuse = |code: StatusCode, why: &'static str| Ok(body::text(code, why));
    if cx.method != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "bad method");
    }
    let key = text(headers, &KEY);
    if key.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "mismatch challenge/response");
    }
    if text(headers, &VERSION) != "13" {
        let mut answer = body::text(StatusCode::BAD_REQUEST, "missing or bad WebSocket Version");
        answer.headers_mut().insert(VERSION, HeaderValue::from_static("13"));
        return Ok(answer);
    }
    if text(headers, &header::ORIGIN).is_empty() {
        return refuse(StatusCode::FORBIDDEN, "null origin");
    }
    let mut agreed = protocols(headers).filter(|p| !p.starts_with(BEARER));
    let protocol = agreed.next();
    if agreed.next().is_some() {
        return refuse(StatusCode::BAD_REQUEST, "bad protocol");
    }
    let Some(upgrade) = cx.take_upgrade() else {
        return refuse(StatusCode::BAD_REQUEST, "not websocket protocol");
    };
    tokio::spawn(async move {
        let Upgrade { upgrade, counted: _counted } = upgrade;
        match upgrade.await {
            Ok(upgraded) => {
                let config = WebSocketConfig::default()
                    .read_buffer_size(MAX_RECEIVED)
                    .max_message_size(Some(MAX_RECEIVED))
                    .max_frame_size(Some(MAX_RECEIVED));
                let io = TokioIo::new(upgraded);
                let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
                if let Err(error) = send(socket, media, chunks).await {
                    tracing::debug!(%error, "a WebSocket ended");
                }
            }
            Err(error) => tracing::debug!(%error, "a connection could not become a WebSocket"),
        }
    });
    let mut answer = Answer::new(body::full(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = answer.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Status::internal)?;
    out.insert(ACCEPT, accept);
    if let Some(protocol) = protocol {
        out.insert(PROTOCOL, HeaderValue::from_str(protocol).map_err(Status::internal)?);
    }
    Ok(answer)
}

async fn send<S>(
    socket: WebSocketStream<S>,
    media: Media,
    chunks: impl Stream<Item = Bytes> + Send,
) -> Result<(), Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sender, mut receiver) = socket.split();
    futures::pin_mut!(chunks);
    loop {
        tokio::select! {
            chunk = chunks.next() => match chunk {
                Some(chunk) => {
                    for message in messages(media, chunk) {
                        sender.feed(message).await?;
                    }
                    sender.flush().await?;
                }
                None => return sender.send(Message::Close(None)).await,
            },
            received = receiver.next() => match received {
                None | Some(Ok(Message::Close(_))) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
            },
        }
    }
}

/// The events of a chunk, each a message: text for JSON, with the line's end; bytes for protobuf, without the length that
/// stands before them on a plain stream.
fn messages(media: Media, mut chunk: Bytes) -> Vec<Message> {
    let mut out = Vec::new();
    while !chunk.is_empty() {
        if media == Media::Protobuf {
            if chunk.len() < 4 {
                break;
            }
            let length = chunk.get_u32() as usize;
            out.push(Message::Binary(chunk.split_to(length.min(chunk.len()))));
            continue;
        }
        let end = chunk.iter().position(|byte| *byte == b'\n').map_or(chunk.len(), |at| at + 1);
        let line = chunk.split_to(end);
        out.push(match Utf8Bytes::try_from(line.clone()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(line),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn a_websocket_is_asked_for_by_two_headers() {
        assert!(asked(&headers(&[("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")])));
        assert!(!asked(&headers(&[("upgrade", "websocket"), ("connection", "close")])));
        assert!(!asked(&headers(&[("upgrade", "SPDY/3.1"), ("connection", "upgrade")])));
    }

    #[test]
    fn a_token_may_be_a_subprotocol() {
        let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
        let with =
            |protocols| bearer(&headers(&[upgrade[0], upgrade[1], ("sec-websocket-protocol", protocols)]));
        assert_eq!(
            with("base64url.bearer.authorization.k8s.io.dG9rZW4, base64.binary.k8s.io"),
            Some("token".into())
        );
        assert_eq!(with("base64url.bearer.authorization.k8s.io.dG9rZW4"), None);
        assert_eq!(with("base64.binary.k8s.io"), None);
    }

    #[test]
    fn each_event_is_a_message() {
        let lines = messages(Media::Json, Bytes::from_static(b"{\"a\":1}\n{\"b\":2}\n"));
        assert_eq!(lines, [Message::text("{\"a\":1}\n"), Message::text("{\"b\":2}\n")]);
        let frames = messages(Media::Protobuf, Bytes::from_static(b"\0\0\0\x02ab\0\0\0\x01c"));
        assert_eq!(frames, [Message::binary("ab"), Message::binary("c")]);
    }
}
