//! An object on its way up, part by part.

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::ETAG;

use super::answer::{Refusal, element, escape};
use super::{Bucket, Call};
use crate::Error;

/// The bytes of a part: with the most parts that there can be, ten thousand, more than any etcd holds.
const PART: usize = 8 << 20;

/// An object that is not one yet.
pub struct Upload<'a> {
    bucket: &'a Bucket,
    name: String,
    id: String,
    /// The tags of the parts that are up.
    parts: Vec<String>,
    buffer: BytesMut,
    size: i64,
}

impl<'a> Upload<'a> {
    pub(super) async fn begin(bucket: &'a Bucket, name: &str) -> Result<Self, Error> {
        let call = Call::new("begin an upload", Method::POST, bucket.key(name)).query("uploads", "");
        let text = bucket.text(call).await?;
        let id = element(&text, "UploadId").ok_or_else(|| {
            Refusal { status: 200, region: None, body: &text }.error("begin an upload", &bucket.place)
        })?;
        Ok(Self { bucket, name: name.to_owned(), id, parts: Vec::new(), buffer: BytesMut::new(), size: 0 })
    }

    /// Takes more of the object.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        self.size += i64::try_from(bytes.len()).unwrap_or(0);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PART - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == PART {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Error> {
        let part: Bytes = self.buffer.split().freeze();
        let number = (self.parts.len() + 1).to_string();
        let call = Call::new("take a part", Method::PUT, self.bucket.key(&self.name))
            .query("partNumber", &number)
            .query("uploadId", &self.id)
            .body(part);
        let response = self.bucket.send(&call).await.map_err(|failure| failure.error)?;
        let tag =
            response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
        // Read to its end, the connection serves for the next.
        self.bucket.collect(response).await?;
        self.parts.push(tag);
        Ok(())
    }

    /// Makes it an object, and sees that it is one, of the size that was sent.
    pub async fn finish(&mut self) -> Result<(), Error> {
        if !self.buffer.is_empty() || self.parts.is_empty() {
            self.send().await?;
        }
        let mut body =
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
        for (at, tag) in self.parts.iter().enumerate() {
            body.push_str(&format!(
                "<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>",
                at + 1,
                escape(tag)
            ));
        }
        body.push_str("</CompleteMultipartUpload>");
        let action = "complete an upload";
        let call = Call::new(action, Method::POST, self.bucket.key(&self.name))
            .query("uploadId", &self.id)
            .body(body);
        match self.bucket.send(&call).await {
            Ok(response) => {
                let text = self.bucket.collect(response).await?;
                // It may be refused after the head of the answer was sent.
                if text.contains("<Error>") {
                    return Err(
                        Refusal { status: 200, region: None, body: &text }.error(action, &self.bucket.place)
                    );
                }
            }
            // Completed by a try whose answer was lost, perhaps: the list tells.
            Err(failure) if failure.code == "NoSuchUpload" => {}
            Err(failure) => return Err(failure.error),
        }
        let listed = self.bucket.list(&self.name, &self.name).await?;
        match listed.iter().find(|object| object.name == self.name) {
            Some(object) if object.size == self.size => Ok(()),
            Some(object) => Err(Error::Snapshot(format!(
                "the object store has {} bytes of the {} of {:?}",
                object.size, self.size, self.name
            ))),
            None => {
                Err(Error::Snapshot(format!("the object store took {:?}, and does not list it", self.name)))
            }
        }
    }

    /// Takes back what is up.
    pub async fn give_up(&self) -> Result<(), Error> {
        self.bucket.abort(&self.bucket.key(&self.name), &self.id).await
    }
}
