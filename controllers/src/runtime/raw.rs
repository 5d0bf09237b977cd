//! Requests by path: for the kinds that are only known at run time, and for the paths of virtual control planes.

use futures::Stream;
use http::{Method, Request};
use kube::Client;
use kube::core::WatchEvent;
use serde_json::Value;

/// A client whose paths begin with a prefix. It shares the connections of the client it was made from.
#[derive(Clone)]
pub struct Raw {
    client: Client,
    prefix: String,
    agent: Option<&'static str>,
}

impl Raw {
    /// Paths from the server's root.
    pub fn new(client: Client) -> Self {
        Self { client, prefix: String::new(), agent: None }
    }

    /// Paths inside one virtual control plane, or inside all of them for `*`.
    pub fn cluster(&self, name: &str) -> Self {
        let prefix = format!("/clusters/{name}/control-plane");
        Self { client: self.client.clone(), prefix, agent: self.agent }
    }

    /// The same, named to the server: managed fields carry the name.
    pub fn named(mut self, agent: &'static str) -> Self {
        self.agent = Some(agent);
        self
    }

    /// Reads an object or a collection.
    pub async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        self.send(Method::GET, path, None, None).await
    }

    /// Reads an object or a collection in one of several representations.
    pub async fn get_accepting(&self, path: &str, accept: &str) -> Result<Value, kube::Error> {
        let request = Request::get(format!("{}{path}", self.prefix))
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        self.client.request::<Value>(request).await
    }

    /// Creates an object, or calls a subresource.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, kube::Error> {
        self.send(Method::POST, path, None, Some(body)).await
    }

    /// Replaces an object.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, kube::Error> {
        self.send(Method::PUT, path, None, Some(body)).await
    }

    /// Changes an object by an RFC 7386 merge patch.
    pub async fn merge(&self, path: &str, body: &Value) -> Result<Value, kube::Error> {
        self.send(Method::PATCH, path, Some("application/merge-patch+json"), Some(body)).await
    }

    /// Changes an object of a built-in kind by a strategic merge patch.
    pub async fn strategic(&self, path: &str, body: &Value) -> Result<Value, kube::Error> {
        self.send(Method::PATCH, path, Some("application/strategic-merge-patch+json"), Some(body)).await
    }

    /// Applies an object by server-side apply, as this field manager, whose word outranks others'.
    pub async fn apply(&self, path: &str, manager: &str, body: &Value) -> Result<Value, kube::Error> {
        let path = format!("{path}?fieldManager={}&force=true", encode(manager));
        self.send(Method::PATCH, &path, Some("application/apply-patch+yaml"), Some(body)).await
    }

    /// Deletes an object or a collection, with these `DeleteOptions`.
    pub async fn delete(&self, path: &str, options: Option<&Value>) -> Result<Value, kube::Error> {
        self.send(Method::DELETE, path, None, options).await
    }

    /// Reads a collection page by page. `visit` sees every item once.
    ///
    /// Answers the resourceVersion of the collection.
    pub async fn pages(
        &self,
        path: &str,
        limit: u32,
        mut visit: impl FnMut(Value),
    ) -> Result<String, kube::Error> {
        let mut token = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let mut url = format!("{path}{separator}limit={limit}");
            if !token.is_empty() {
                url.push_str("&continue=");
                url.push_str(&encode(&token));
            }
            let mut page = self.get(&url).await?;
            if let Some(items) = page.get_mut("items").and_then(Value::as_array_mut) {
                items.drain(..).for_each(&mut visit);
            }
            let text = |pointer: &str| page.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            match text("/metadata/continue") {
                Some(next) if !next.is_empty() => token = next,
                _ => return Ok(text("/metadata/resourceVersion").unwrap_or_default()),
            }
        }
    }

    /// Watches a collection from a resourceVersion, with bookmarks.
    pub async fn watch(
        &self,
        path: &str,
        resource_version: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, kube::Error>> + Send + use<>, kube::Error> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = format!(
            "{}{path}{separator}watch=1&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={}",
            self.prefix,
            encode(resource_version)
        );
        let request = Request::get(url).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request_events::<Value>(request).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Value, kube::Error> {
        let bytes =
            body.map(serde_json::to_vec).transpose().map_err(kube::Error::SerdeError)?.unwrap_or_default();
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.prefix));
        if let Some(agent) = self.agent {
            request = request.header(http::header::USER_AGENT, agent);
        }
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, content_type.unwrap_or("application/json"));
        }
        let request = request.body(bytes).map_err(kube::Error::HttpError)?;
        self.client.request::<Value>(request).await
    }
}

/// The status code of an error of the API.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Whether the API says that something is not there.
pub fn is_not_found(error: &kube::Error) -> bool {
    code(error) == Some(404)
}

/// Whether the API says that something is there already, or has changed meanwhile.
pub fn is_conflict(error: &kube::Error) -> bool {
    code(error) == Some(409)
}

/// An answer, with `None` for what is not there.
pub fn optional<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Encodes a value for a query or one segment of a path.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn segments_are_encoded() {
        assert_eq!(encode("system:admin/x y"), "system%3Aadmin%2Fx%20y");
        assert_eq!(encode("a-b.c_d~1"), "a-b.c_d~1");
    }
}
