//! A request on its way to the server that answers its group.

use bytes::Bytes;
use futures::StreamExt;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kplane_auth::UserInfo;
use kplane_machinery::Status;

use super::Api;
use crate::body::{self, Answer};
use crate::endpoints::cx::Cx;

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
    if cx.headers.contains_key(header::UPGRADE) {
        let why = "connections that are upgraded are not passed on to aggregated APIs; use a plain request\n";
        return Ok(body::text(StatusCode::NOT_IMPLEMENTED, why));
    }
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
    let response = match cx.app.egress.stream(&caller, &target, request).await {
        Ok(response) => response,
        Err(error) => {
            return Ok(unavailable(format!("error trying to reach service: {error}\n")));
        }
    };
    let (parts, reply) = response.into_parts();
    let vcp = cx.vcp.name.clone();
    // What ends early is seen by its length, or by the missing end of its last chunk.
    let chunks = reply.into_data_stream().scan((), move |(), chunk| {
        let chunk = chunk.inspect_err(|error| tracing::debug!(%vcp, %error, "an aggregated API broke off"));
        futures::future::ready(chunk.ok())
    });
    let mut answer = http::Response::new(body::stream(chunks));
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = parts.headers;
    for name in HOP_BY_HOP {
        answer.headers_mut().remove(name);
    }
    Ok(answer)
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
