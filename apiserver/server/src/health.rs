//! `/livez`, `/readyz` and `/healthz`, of the server and, below a control plane's path, of that control plane.

use http::StatusCode;
use kplane_machinery::Status;

use crate::body::{self, Answer};
use crate::endpoints::cx::Cx;

/// The checks of the server. `etcd` keeps upstream's name whatever the store is, since tools ask for it.
pub const CHECKS: [&str; 4] = ["ping", "log", "etcd", "shutdown"];

/// Answers a health check: `/readyz`, `/readyz?verbose`, `/readyz?exclude=etcd`, `/readyz/etcd`.
pub async fn answer(cx: &Cx, segments: &[&str]) -> Result<Answer, Status> {
    let endpoint = segments.first().copied().unwrap_or("healthz");
    let of_endpoint = |check: &str| endpoint == "readyz" || check != "shutdown";
    let excluded: Vec<&str> = cx.query.all("exclude").collect();
    let wanted: Vec<&str> = match segments {
        [_] => CHECKS.into_iter().filter(|check| of_endpoint(check)).collect(),
        [_, one] if CHECKS.contains(one) && of_endpoint(one) => vec![*one],
        _ => return Ok(body::page_not_found()),
    };
    let mut report = String::new();
    let unknown: Vec<String> =
        excluded.iter().filter(|name| !wanted.contains(name)).map(|name| format!("{name:?}")).collect();
    let mut failed = Vec::new();
    for check in &wanted {
        if excluded.contains(check) {
            report.push_str(&format!("[+]{check} excluded: ok\n"));
            continue;
        }
        match run(cx, check).await {
            Ok(()) => report.push_str(&format!("[+]{check} ok\n")),
            Err(why) => {
                tracing::warn!(check, why, "health check failed");
                // Why is for the log alone: anyone may ask.
                report.push_str(&format!("[-]{check} failed: reason withheld\n"));
                failed.push(*check);
            }
        }
    }
    if !unknown.is_empty() {
        let unknown = unknown.join(",");
        report.push_str(&format!("warn: some health checks cannot be excluded: no matches for {unknown}\n"));
    }
    if !failed.is_empty() {
        report.push_str(&format!("{endpoint} check failed\n"));
        return Ok(body::text(StatusCode::INTERNAL_SERVER_ERROR, report));
    }
    if cx.query.get("verbose").is_some() && segments.len() == 1 {
        report.push_str(&format!("{endpoint} check passed\n"));
        return Ok(body::text(StatusCode::OK, report));
    }
    Ok(body::text(StatusCode::OK, "ok"))
}

async fn run(cx: &Cx, check: &str) -> Result<(), String> {
    match check {
        "etcd" => cx.app.registry.ready().await.map_err(|e| e.to_string()),
        "shutdown" if cx.app.draining.is_cancelled() => Err("the server is ending".into()),
        _ => Ok(()),
    }
}
