//! Posts to webhooks: of admission and of conversion.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, Response};
use kplane_admission::webhook::{ClientConfig, Destination};
use kplane_egress::{Error, Limits, Scheme, Target, Tls, of_request};
use kplane_registry::Vcp;
use serde_json::Value;

use super::service::{self, Backend};
use crate::app::App;
use crate::endpoints::reader::VcpReader;

/// The largest answer that is read.
const MAX_ANSWER: usize = 16 << 20;

impl App {
    /// Posts JSON to a webhook of a control plane and returns the JSON that it answers. The error is in the words of Go's
    /// HTTP client and of client-go.
    pub async fn post(
        &self,
        vcp: &Vcp,
        client: &ClientConfig,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Bytes, String> {
        // The webhook is told how long it has.
        let url = format!("{}?timeout={}s", client.url(), timeout.as_secs().max(1));
        let failed = |why: String| format!("Post {url:?}: {why}");
        let sending = async {
            let (target, host) = self.target(vcp, client).await.map_err(&failed)?;
            let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
            let mut request = Request::post(path.unwrap_or("/"))
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, "application/json, */*")
                .header(USER_AGENT, "kube-apiserver-admission");
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            let request = request.body(Bytes::from(body)).map_err(|e| failed(e.to_string()))?;
            let caller = self.caller(vcp).await.map_err(|status| failed(status.message))?;
            let limits = Limits { time: timeout, body: MAX_ANSWER };
            let answered = self.egress.send(&caller, &target, request, limits).await;
            answered.map_err(|error| of_request(&Method::POST, &url, &error))
        };
        let answered = tokio::time::timeout(timeout, sending);
        let response = answered.await.map_err(|_| failed(Error::Timeout.to_string()))??;
        read(&response)
    }

    /// Where a webhook is, and the host that its requests name if that is not the target's.
    async fn target(&self, vcp: &Vcp, client: &ClientConfig) -> Result<(Target, Option<String>), String> {
        let tls = Tls { ca_bundle: client.ca_bundle.clone(), ..Tls::default() };
        match &client.destination {
            Destination::Url(url) => {
                let target = Target::of_url(url).map_err(|e| e.to_string())?;
                if target.scheme != Scheme::Https {
                    return Err("webhooks are called by https alone".into());
                }
                Ok((Target { tls, ..target }, None))
            }
            Destination::Service { namespace, name, port, .. } => {
                self.service_target(vcp, namespace, name, *port, tls).await.map_err(|e| e.to_string())
            }
        }
    }

    /// Where a Service is, verified by its name in the cluster, and the host that requests to it name.
    pub async fn service_target(
        &self,
        vcp: &Vcp,
        namespace: &str,
        name: &str,
        port: u16,
        mut tls: Tls,
    ) -> Result<(Target, Option<String>), service::Unresolved> {
        let reader = VcpReader::new(self, vcp);
        let backend = service::resolve(&reader, namespace, name, port).await?;
        let host = format!("{name}.{namespace}.svc");
        tls.server_name = host.clone();
        let named = Some(format!("{host}:{port}"));
        let target = match backend {
            Backend::Address(address) => {
                Target { scheme: Scheme::Https, host, port, address: Some(address), tls }
            }
            Backend::Name(external, port) => {
                Target { scheme: Scheme::Https, host: external, port, address: None, tls }
            }
        };
        Ok((target, named))
    }
}

/// What a webhook answered, if it is an answer.
fn read(response: &Response<Bytes>) -> Result<Bytes, String> {
    let code = response.status().as_u16();
    if !response.status().is_success() {
        return Err(of_code(code, response.body()));
    }
    let given =
        response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    match given.split(';').next().map(str::trim) {
        Some("application/json") => Ok(response.body().clone()),
        _ => Err(format!("serializer for {given} doesn't exist")),
    }
}

/// What client-go says of an answer with a code of failure (`NewGenericServerResponse`).
pub fn of_code(code: u16, body: &[u8]) -> String {
    if let Ok(status) = serde_json::from_slice::<Value>(body)
        && status["kind"] == "Status"
        && let Some(message) = status["message"].as_str().filter(|message| !message.is_empty())
    {
        return message.to_owned();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(2048)]);
    let text = text.trim();
    match code {
        400 => "the server rejected our request for an unknown reason".into(),
        401 => "the server has asked for the client to provide credentials".into(),
        403 => "forbidden".into(),
        404 => "the server could not find the requested resource".into(),
        405 => "the server does not allow this method on the requested resource".into(),
        409 => "the server reported a conflict".into(),
        422 => "the server rejected our request due to an error in our request".into(),
        429 => "the server has received too many requests and has asked us to try again later".into(),
        503 => "the server is currently unable to handle the request".into(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request".into(),
        500.. => {
            let text = if text.is_empty() { "unknown" } else { text };
            format!("an error on the server ({text:?}) has prevented the request from succeeding")
        }
        _ => format!("the server responded with the status code {code} but did not return more information"),
    }
}
