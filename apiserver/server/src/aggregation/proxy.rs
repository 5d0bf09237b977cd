//! A request on its way to the server that answers its group.

use bytes::Bytes;
use futures::StreamExt;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kplane_auth::UserInfo;
use kplane_egress::{Caller, RequestBody, Target};
use kplane_machinery::Status;

use super::Api;
use super::revoked::revoked;
use crate::body::{self, Answer};
use crate::endpoints::cx::{Cx, Upgrade};
use crate::endpoints::websocket::upgrades;

/// Headers of one connection, not of the message.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Passes a request on, in the name of its user, and the answer back as it comes.
pub async fn proxy(cx: &Cx, api: &Api, method: &Method, incoming: Incoming) -> Result<Answer, Status> {
    let (target, host) = match api.target(&cx.app, &cx.vcp).await {
        Ok(found) => found,
        Err(why) => {
            tracing::debug!(vcp = %cx.vcp.name, service = api.service, %why, "an aggregated API has no server");
            return Ok(unavailable("service unavailable\n"));
        }
    };
    let query = cx.query.to_raw();
    let path = &cx.info.path;
    let uri = if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
    let body = incoming.map_err(Into::into).boxed_unsync();
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() =
        uri.parse().map_err(|e| Status::bad_request(format!("the path cannot be passed on: {e}")))?;
    *request.headers_mut() = headers(&cx.headers, &cx.user)?;
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(&host).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
    let caller = cx.app.caller(&cx.vcp).await?;
    if upgrades(&cx.headers) {
        return upgrade(cx, &caller, &target, request).await;
    }
    let response = match cx.app.egress.stream(&caller, &target, request).await {
        Ok(response) => response,
        Err(error) => {
            return Ok(unavailable(format!("error trying to reach service: {error}\n")));
        }
    };
    Ok(passed_on(cx, response))
}

/// Passes on a request for another protocol; when the other server agrees, both connections are joined.
async fn upgrade(
    cx: &Cx,
    caller: &Caller,
    target: &Target,
    mut request: Request<RequestBody>,
) -> Result<Answer, Status> {
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    for protocol in cx.headers.get_all(header::UPGRADE) {
        request.headers_mut().append(header::UPGRADE, protocol.clone());
    }
    let Some(Upgrade { upgrade: ours, counted }) = cx.take_upgrade() else {
        return Ok(body::text(StatusCode::BAD_REQUEST, "this connection cannot be upgraded\n"));
    };
    let mut response = match cx.app.egress.upgrade(caller, target, request).await {
        Ok(response) => response,
        Err(error) => return Ok(unavailable(format!("error trying to reach service: {error}\n"))),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(passed_on(cx, response));
    }
    let theirs = hyper::upgrade::on(&mut response);
    let (shutdown, vcp) = (cx.app.shutdown.clone(), cx.vcp.name.clone());
    let revoked = revoked(cx.app.clone(), cx.vcp.clone());
    tokio::spawn(async move {
        let _counted = counted;
        let joined = async {
            let (ours, theirs) = tokio::try_join!(ours, theirs)?;
            let copied =
                tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(theirs)).await;
            Ok::<_, hyper::Error>(copied)
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = revoked => tracing::debug!(%vcp, "an upgraded connection ends with the credentials that opened it"),
            ended = joined => match ended {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(%vcp, %error, "an upgraded connection broke off"),
                Err(error) => tracing::debug!(%vcp, %error, "a connection could not be upgraded"),
            },
        }
    });
    let mut answer = http::Response::new(body::full(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = response.headers().clone();
    Ok(answer)
}

/// The other server's answer, as it comes.
fn passed_on<B>(cx: &Cx, response: http::Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes, Error = hyper::Error> + Send + 'static,
{
    let (parts, reply) = response.into_parts();
    let vcp = cx.vcp.name.clone();
    // What ends early is seen by its length, or by the missing end of its last chunk.
    let chunks = reply.into_data_stream().scan((), move |(), chunk| {
        let chunk = chunk.inspect_err(|error| tracing::debug!(%vcp, %error, "an aggregated API broke off"));
        futures::future::ready(chunk.ok())
    });
    // One without a length may go on for ever, as a watch does.
    let mut answer = http::Response::new(match parts.headers.get(header::CONTENT_LENGTH) {
        Some(_) => body::stream(chunks),
        None => body::stream(chunks.take_until(Box::pin(revoked(cx.app.clone(), cx.vcp.clone())))),
    });
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    for name in HOP_BY_HOP {
        answer.headers_mut().remove(name);
    }
    // A place on the other server is one below the control plane's path.
    if let Some(place) = answer.headers().get(header::LOCATION).and_then(|place| place.to_str().ok())
        && place.starts_with('/')
        && let Ok(place) = HeaderValue::from_str(&format!("{}{place}", cx.prefix))
    {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    answer
}

fn unavailable(text: impl Into<Bytes>) -> Answer {
    body::text(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// The headers of a request as the other server gets them: who the user is and no proof of it, for the proof would be
/// good with us.
pub(super) fn headers(given: &HeaderMap, user: &UserInfo) -> Result<HeaderMap, Status> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let text = name.as_str();
        let secret = name == header::AUTHORIZATION || name == header::COOKIE;
        let claimed = text.starts_with("x-remote-") || text.starts_with("impersonate-");
        if !secret && !claimed && !HOP_BY_HOP.contains(&text) && name != header::HOST {
            headers.append(name.clone(), value.clone());
        }
    }
    // A token among the subprotocols of a WebSocket is a proof, too.
    if let Some(rest) = crate::endpoints::websocket::without_bearer(given) {
        match HeaderValue::from_str(&rest) {
            Ok(rest) if !rest.is_empty() => drop(headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest)),
            _ => drop(headers.remove(header::SEC_WEBSOCKET_PROTOCOL)),
        }
    }
    let value = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| Status::internal(format!("{text:?} of the user cannot be sent in a header")))
    };
    headers.insert("x-remote-user", value(&user.username)?);
    if !user.uid.is_empty() {
        headers.insert("x-remote-uid", value(&user.uid)?);
    }
    for group in &user.groups {
        headers.append("x-remote-group", value(group)?);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escape(key));
        let name: HeaderName = name
            .parse()
            .map_err(|_| Status::internal(format!("{key:?} of the user cannot be sent in a header")))?;
        for text in values {
            headers.append(name.clone(), value(text)?);
        }
    }
    Ok(headers)
}

/// A key of the user's extra as part of a header's name: what may not stand there is percent-encoded.
fn escape(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z'
            | b'0'..=b'9'
            | b'!'
            | b'#'
            | b'$'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~' => out.push(char::from(byte)),
            b'A'..=b'Z' => out.push(char::from(byte.to_ascii_lowercase())),
            _ => out.push_str(&format!("%{byte:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_named_and_what_a_client_claims_is_left_out() {
        let mut given = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("x-remote-user", "system:admin"),
            ("impersonate-user", "jane"),
            ("accept", "application/json"),
            ("connection", "close"),
        ] {
            given.insert(name, HeaderValue::from_static(value));
        }
        let mut user = UserInfo::new("owl", ["birds", "night"]);
        user.extra.insert("example.test/Key".into(), vec!["a".into()]);
        let headers = headers(&given, &user).unwrap();
        assert_eq!(headers["x-remote-user"], "owl");
        assert_eq!(headers.get_all("x-remote-group").iter().count(), 2);
        assert_eq!(headers["x-remote-extra-example.test%2fkey"], "a");
        assert_eq!(headers["accept"], "application/json");
        assert_eq!(headers.len(), 5);
    }
}
