//! Snapshots in a bucket of an object store that speaks S3 (client required).
//!
//! A snapshot goes up in parts as it comes from etcd, and is an object only once all of it is there and its digest was
//! right: nothing of it is held but the part at hand.

mod answer;
mod sign;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use kplane_egress::{Caller, Egress, Policy, ReplyBody, Target};

use crate::Error;
use answer::{Refusal, element, elements, unreachable};
use sign::{Credentials, Signed};
pub use upload::Upload;

/// How long the answer to one request may take: a part goes up meanwhile.
const PATIENCE: Duration = Duration::from_secs(300);
/// The waits between tries.
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9)];
/// The most that is read of an answer that is held whole.
const MOST: usize = 4 << 20;
/// After what time nobody works on an upload any more: a Job ends before.
const GIVEN_UP: jiff::SignedDuration = jiff::SignedDuration::from_hours(2);
/// The files of the Secret with the keys.
pub const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
/// See [`KEY_ID`].
pub const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
/// See [`KEY_ID`]; it need not be there.
pub const TOKEN: &str = "AWS_SESSION_TOKEN";

/// Where snapshots are kept.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// What their names begin with.
    pub prefix: String,
    /// The region of the bucket.
    pub region: String,
    /// The address of the object store; that of AWS when empty.
    pub endpoint: String,
    /// Whether the bucket is named in the path, and not in the host.
    pub path_style: Option<bool>,
    /// The folder with the keys.
    pub credentials: PathBuf,
    /// The authorities that the object store is verified by, in PEM; those of the system when none.
    pub ca: Option<PathBuf>,
}

impl Place {
    /// With what is left out filled in.
    fn completed(mut self) -> Self {
        let own = !self.endpoint.is_empty();
        if !own {
            let china = if self.region.starts_with("cn-") { ".cn" } else { "" };
            self.endpoint = format!("https://s3.{}.amazonaws.com{china}", self.region);
        }
        // No certificate is for a name with dots before the host.
        self.path_style.get_or_insert(own || self.bucket.contains('.'));
        self.prefix = self.prefix.trim_matches('/').to_owned();
        if !self.prefix.is_empty() {
            self.prefix.push('/');
        }
        self
    }
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name, without the prefix.
    pub name: String,
    /// Its size in bytes.
    pub size: i64,
}

/// A bucket, and the way to it.
pub struct Bucket {
    place: Place,
    credentials: Credentials,
    egress: Egress,
    target: Target,
    /// What paths begin with.
    base: String,
}

/// One request.
struct Call<'a> {
    /// What it is, for people: `list`.
    action: &'a str,
    method: Method,
    /// The key of an object; the bucket itself when empty.
    key: String,
    query: Vec<(&'a str, &'a str)>,
    body: Bytes,
}

impl<'a> Call<'a> {
    fn new(action: &'a str, method: Method, key: String) -> Self {
        Self { action, method, key, query: Vec::new(), body: Bytes::new() }
    }

    fn query(mut self, name: &'a str, value: &'a str) -> Self {
        self.query.push((name, value));
        self
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// How one try of a request failed.
struct Failure {
    error: Error,
    /// The object store's name for it.
    code: String,
    passes: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, code: String::new(), passes: false }
    }
}

impl Bucket {
    /// Reads the keys. Whether the bucket is there shows with the first request.
    pub fn open(place: Place) -> Result<Self, Error> {
        let place = place.completed();
        let read = |name: &str| {
            let path = place.credentials.join(name);
            let text = std::fs::read_to_string(&path);
            text.map(|text| text.trim().to_owned()).map_err(|error| super::snapshot::file_error(&path, error))
        };
        let credentials =
            Credentials { key_id: read(KEY_ID)?, secret: read(SECRET)?, token: read(TOKEN).ok() };
        let mut target = Target::of_url(&place.endpoint).map_err(|error| unreachable(&error, &place))?;
        if let Some(path) = &place.ca {
            let pem = std::fs::read(path).map_err(|error| super::snapshot::file_error(path, error))?;
            target.tls.ca_bundle = pem.into();
        }
        let mut base = place.endpoint.splitn(4, '/').nth(3).unwrap_or_default().trim_matches('/').to_owned();
        if !base.is_empty() {
            base.insert(0, '/');
        }
        if place.path_style == Some(true) {
            base = format!("{base}/{}", sign::path(&place.bucket));
        } else {
            target.host = format!("{}.{}", place.bucket, target.host);
        }
        Ok(Self { place, credentials, egress: Egress::new(Policy::default()), target, base })
    }

    /// The snapshots, the oldest first: the objects whose names begin and end so.
    pub async fn list(&self, begin: &str, end: &str) -> Result<Vec<Object>, Error> {
        let prefix = format!("{}{begin}", self.place.prefix);
        let mut objects = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut call = Call::new("list", Method::GET, String::new())
                .query("list-type", "2")
                .query("prefix", &prefix);
            if let Some(after) = &after {
                call = call.query("continuation-token", after);
            }
            let page = self.text(call).await?;
            for each in elements(&page, "Contents") {
                let key = element(each, "Key").unwrap_or_default();
                let Some(name) = key.strip_prefix(&self.place.prefix) else { continue };
                let size = element(each, "Size").and_then(|size| size.parse().ok()).unwrap_or(0);
                if name.ends_with(end) && !name.contains('/') {
                    objects.push(Object { name: name.to_owned(), size });
                }
            }
            after = element(&page, "NextContinuationToken");
            if after.is_none() || element(&page, "IsTruncated").as_deref() != Some("true") {
                break;
            }
        }
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    /// Deletes an object. One that is gone already is no error.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        match self.send(&Call::new("delete", Method::DELETE, self.key(name))).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.code == "NoSuchKey" => Ok(()),
            Err(failure) => Err(failure.error),
        }
    }

    /// Begins to read an object; `None` when there is none of this name.
    pub async fn read(&self, name: &str) -> Result<Option<ReplyBody>, Error> {
        match self.send(&Call::new("read", Method::GET, self.key(name))).await {
            Ok(response) => Ok(Some(response.into_body())),
            Err(failure) if failure.code == "NoSuchKey" => Ok(None),
            Err(failure) => Err(failure.error),
        }
    }

    /// Begins to write an object.
    pub async fn write(&self, name: &str) -> Result<Upload<'_>, Error> {
        Upload::begin(self, name).await
    }

    /// Removes the parts of uploads that were cut off, of objects whose names begin so. Not every object store can
    /// tell of them.
    pub async fn clear(&self, begin: &str, now: jiff::Timestamp) -> Result<(), Error> {
        let prefix = format!("{}{begin}", self.place.prefix);
        let call = Call::new("list the uploads", Method::GET, String::new());
        let list = match self.send(&call.query("uploads", "").query("prefix", &prefix)).await {
            Ok(response) => self.collect(response).await?,
            Err(failure) if matches!(failure.code.as_str(), "NotImplemented" | "MethodNotAllowed") => {
                return Ok(());
            }
            Err(failure) => return Err(failure.error),
        };
        for each in elements(&list, "Upload") {
            let (Some(key), Some(id)) = (element(each, "Key"), element(each, "UploadId")) else { continue };
            let begun = element(each, "Initiated").and_then(|time| time.parse::<jiff::Timestamp>().ok());
            let old = begun.is_some_and(|begun| now.duration_since(begun) > GIVEN_UP);
            if old && key.starts_with(&prefix) {
                self.abort(&key, &id).await?;
            }
        }
        Ok(())
    }

    async fn abort(&self, key: &str, id: &str) -> Result<(), Error> {
        let call = Call::new("abort an upload", Method::DELETE, key.to_owned()).query("uploadId", id);
        match self.send(&call).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.code == "NoSuchUpload" => Ok(()),
            Err(failure) => Err(failure.error),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.place.prefix)
    }

    /// The text of an answer.
    async fn text(&self, call: Call<'_>) -> Result<String, Error> {
        let response = self.send(&call).await.map_err(|failure| failure.error)?;
        self.collect(response).await
    }

    async fn collect(&self, response: Response<ReplyBody>) -> Result<String, Error> {
        let cut_off = |why: String| unreachable(&kplane_egress::Error::Http(why), &self.place);
        let read = tokio::time::timeout(PATIENCE, Limited::new(response.into_body(), MOST).collect()).await;
        let whole = read.map_err(|_| unreachable(&kplane_egress::Error::Timeout, &self.place))?;
        let bytes = whole.map_err(|error| cut_off(error.to_string()))?.to_bytes();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// An answer that is no refusal, after as many tries as it takes.
    async fn send(&self, call: &Call<'_>) -> Result<Response<ReplyBody>, Failure> {
        let mut waits = WAITS.iter();
        loop {
            match self.attempt(call).await {
                Err(failure) if failure.passes => match waits.next() {
                    Some(wait) => tokio::time::sleep(*wait).await,
                    None => return Err(failure),
                },
                other => return other,
            }
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Response<ReplyBody>, Failure> {
        let path = match call.key.as_str() {
            "" if self.base.is_empty() => "/".to_owned(),
            "" => self.base.clone(),
            key => format!("{}/{}", self.base, sign::path(key)),
        };
        let query = sign::query(&call.query);
        let host = self.target.authority();
        let signed = Signed {
            method: call.method.as_str(),
            host: &host,
            path: &path,
            query: &query,
            body: &call.body,
        };
        let uri = if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
        let mut request = Request::builder().method(&call.method).uri(uri).header(HOST, &host);
        for (name, value) in
            sign::headers(&self.credentials, &self.place.region, &signed, jiff::Timestamp::now())?
        {
            request = request.header(name, value);
        }
        let body = Full::new(call.body.clone()).map_err(|never| match never {}).boxed_unsync();
        let request = request.body(body).map_err(|error| Error::ObjectStore {
            reason: kplane_crds::conditions::reason::BACKUP_FAILED,
            message: format!("the keys or names for the object store are none: {error}"),
        })?;
        let sent = self.egress.stream(&Caller::Operator, &self.target, request);
        let answered = tokio::time::timeout(PATIENCE, sent).await;
        let response = answered.unwrap_or(Err(kplane_egress::Error::Timeout)).map_err(|error| Failure {
            passes: !matches!(error, kplane_egress::Error::Tls(_)),
            error: unreachable(&error, &self.place),
            code: String::new(),
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let region = response.headers().get("x-amz-bucket-region").cloned();
        let body = self.collect(response).await?;
        let region = region.as_ref().and_then(|value| value.to_str().ok());
        let refusal = Refusal { status, region, body: &body };
        Err(Failure {
            error: refusal.error(call.action, &self.place),
            code: refusal.code(),
            passes: refusal.passes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(place: Place) -> Bucket {
        let folder = tempfile::tempdir().unwrap();
        for name in [KEY_ID, SECRET] {
            std::fs::write(folder.path().join(name), "x\n").unwrap();
        }
        Bucket::open(Place { credentials: folder.path().to_owned(), region: "eu-1".into(), ..place }).unwrap()
    }

    #[test]
    fn a_bucket_is_named_in_the_host_or_in_the_path() {
        let of = |bucket: &str, endpoint: &str, path_style: Option<bool>| Place {
            bucket: bucket.into(),
            endpoint: endpoint.into(),
            path_style,
            prefix: "/a/b/".into(),
            ..Place::default()
        };
        let aws = bucket(of("owls", "", None));
        assert_eq!((aws.target.authority().as_str(), aws.base.as_str()), ("owls.s3.eu-1.amazonaws.com", ""));
        assert_eq!(aws.key("x.db"), "a/b/x.db");
        let dots = bucket(of("owls.test", "", None));
        assert_eq!(
            (dots.target.authority().as_str(), dots.base.as_str()),
            ("s3.eu-1.amazonaws.com", "/owls.test")
        );
        let own = bucket(of("owls", "http://10.0.0.9:9000/s3/", None));
        assert_eq!((own.target.authority().as_str(), own.base.as_str()), ("10.0.0.9:9000", "/s3/owls"));
        let hosted = bucket(of("owls", "https://s3.example.test", Some(false)));
        assert_eq!((hosted.target.authority().as_str(), hosted.base.as_str()), ("owls.s3.example.test", ""));
    }
}
