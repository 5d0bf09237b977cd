//! The store in an etcd cluster.
//!
//! Requests go over one connection per endpoint, watches over others, so that a busy watch does
//! not hold up writes. Reads are linearizable; ranges come in pages below the message limit; a
//! write that may have been done without our knowing is [`Error::UnknownOutcome`].

mod convert;
mod errors;
mod lease;
mod watcher;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::proto::PbRangeResponse;
use etcd_client::{
    Certificate, Client, ConnectOptions, GetOptions, Identity, KvClient, TlsOptions, WatchOptions,
};
use tokio::sync::watch;

use self::errors::Kind;
use self::lease::Leases;
use crate::{
    Error, GetResponse, RangeRequest, RangeResponse, Result, Revision, Store, StoreStatus, Txn, TxnResponse,
    WatchRequest, WatchStream, successor, validate,
};

/// The largest message accepted; ranges are asked for in pages that stay far below.
const MESSAGE_BYTES: usize = 64 << 20;
/// How many bytes a page of a range should have, and how many keys the first one has.
const PAGE_BYTES: usize = 4 << 20;
const FIRST_PAGE: usize = 500;
const LARGEST_PAGE: usize = 10_000;
/// How often a range without a revision is begun again when compaction overtakes it.
const RANGE_ATTEMPTS: usize = 5;
/// How often a request that was not done is made: often enough to meet a member that is up, since
/// the client picks one at random. The pause between doubles up to the longest.
const ATTEMPTS: usize = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Any key serves to ask for the current revision.
const PROBE: &[u8] = b"\0";

/// How to reach an etcd cluster.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// The URLs of its members.
    pub endpoints: Vec<String>,
    /// The certificate authorities to trust, PEM.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate, PEM.
    pub cert: Option<Vec<u8>>,
    /// The key of the client's certificate, PEM.
    pub key: Option<Vec<u8>>,
    /// User name and password, where etcd's own authentication is on.
    pub user: Option<(String, String)>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
}

impl EtcdOptions {
    /// The defaults, for these endpoints.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        EtcdOptions {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            ca: None,
            cert: None,
            key: None,
            user: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
        }
    }

    fn client_options(&self) -> Result<ConnectOptions> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.connect_timeout)
            .with_keep_alive(Duration::from_secs(10), Duration::from_secs(10))
            .with_keep_alive_while_idle(true)
            .with_auto_token_refresh(self.user.is_some());
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password);
        }
        let wants_tls = self.ca.is_some() || self.cert.is_some() || self.key.is_some();
        if wants_tls {
            let mut tls = TlsOptions::new();
            if let Some(ca) = &self.ca {
                tls = tls.ca_certificate(Certificate::from_pem(ca));
            }
            match (&self.cert, &self.key) {
                (Some(cert), Some(key)) => tls = tls.identity(Identity::from_pem(cert, key)),
                (None, None) => {}
                _ => {
                    return Err(Error::Invalid(
                        "an etcd client certificate needs its key, and a key its certificate".into(),
                    ));
                }
            }
            options = options.with_tls(tls);
        }
        Ok(options)
    }
}

/// A store in an etcd cluster.
pub struct EtcdStore {
    options: EtcdOptions,
    client: Client,
    kv: KvClient,
    watches: Client,
    leases: Leases,
    closed: watch::Sender<bool>,
}

impl std::fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore").field("endpoints", &self.options.endpoints).finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// Connects, and makes sure that the cluster answers.
    pub async fn connect(options: EtcdOptions) -> Result<Self> {
        if options.endpoints.is_empty() {
            return Err(Error::Invalid("no etcd endpoint is given".into()));
        }
        let connect = async |connect_options: ConnectOptions| {
            tokio::time::timeout(
                options.request_timeout,
                Client::connect(&options.endpoints, Some(connect_options)),
            )
            .await
            .map_err(|_| Error::Unavailable("connecting to etcd took too long".into()))?
            .map_err(|error| errors::map(error, Kind::Read))
        };
        let client = connect(options.client_options()?).await?;
        // A member without a leader would keep a watch waiting: let it break instead.
        let watches = connect(options.client_options()?.with_require_leader(true)).await?;
        let kv = client
            .kv_client()
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let store = EtcdStore {
            leases: Leases::new(client.lease_client()),
            client,
            kv,
            watches,
            closed: watch::Sender::new(false),
            options,
        };
        store.current_revision().await?;
        Ok(store)
    }

    fn check_open(&self) -> Result<()> {
        match *self.closed.borrow() {
            true => Err(Error::Unavailable("the store is closed".into())),
            false => Ok(()),
        }
    }

    /// Waits for an answer, not too long. What surely was not done is tried again, since another
    /// member may do it.
    async fn call<T, F>(&self, kind: Kind, request: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.check_open()?;
        let attempts = attempt(kind, request);
        match tokio::time::timeout(self.options.request_timeout, attempts).await {
            Ok(answer) => answer,
            Err(_) => Err(kind.unanswered("etcd did not answer in time".into())),
        }
    }

    /// One read of a key or a range.
    async fn read(&self, key: &[u8], options: GetOptions) -> Result<PbRangeResponse> {
        let got = self.call(Kind::Read, || {
            let mut kv = self.kv.clone();
            let options = options.clone();
            async move { kv.get(key, Some(options)).await }
        });
        Ok(got.await?.0)
    }

    /// Completes an error about revisions with what etcd did not say.
    async fn explain(&self, error: Error, requested: Option<Revision>) -> Error {
        match error {
            Error::Compacted { .. } => match self.compact_revision().await {
                Ok(compact_revision) => Error::Compacted { compact_revision },
                Err(error) => error,
            },
            Error::FutureRevision { .. } => match self.current_revision().await {
                Ok(current) => Error::FutureRevision { requested: requested.unwrap_or(current), current },
                Err(error) => error,
            },
            error => error,
        }
    }

    /// The oldest revision that can be read; only a watch that asks for an older one is told.
    async fn compact_revision(&self) -> Result<Revision> {
        self.call(Kind::Read, || async {
            let mut watches = self.watches.watch_client();
            let options = WatchOptions::new().with_start_revision(1);
            let mut stream = watches.watch(PROBE, Some(options)).await?;
            while let Some(response) = stream.message().await? {
                if response.compact_revision() > 0 {
                    return Ok(response.compact_revision() as Revision);
                }
                if response.canceled() || !response.created() {
                    break;
                }
            }
            Ok(0)
        })
        .await
    }

    async fn get_page(
        &self,
        request: &RangeRequest,
        start: &[u8],
        revision: Option<Revision>,
        limit: usize,
    ) -> Result<PbRangeResponse> {
        let mut options =
            GetOptions::new().with_range(convert::range_end(&request.end)).with_limit(limit as i64);
        if let Some(revision) = revision {
            options = options.with_revision(revision as i64);
        }
        if request.keys_only {
            options = options.with_keys_only();
        }
        if request.count_only {
            options = options.with_count_only();
        }
        self.read(&convert::range_start(start), options).await
    }

    /// Reads a range page by page, all at the revision of the first.
    async fn pages(&self, request: &RangeRequest) -> Result<RangeResponse> {
        let mut response = RangeResponse::default();
        let mut start = request.start.clone();
        let mut revision = request.revision;
        let mut page = FIRST_PAGE;
        let mut first = true;
        loop {
            let wanted = match request.limit {
                0 => page,
                limit => page.min(limit - response.kvs.len()),
            };
            let got = match self.get_page(request, &start, revision, wanted).await {
                Err(Error::TooLarge { .. }) if wanted > 1 => {
                    page = wanted / 4 + 1;
                    continue;
                }
                got => got?,
            };
            if first {
                first = false;
                response.revision = convert::revision(got.header.as_ref())?;
                response.count = got.count as u64;
                revision.get_or_insert(response.revision);
            }
            let bytes: usize = got.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
            if !got.kvs.is_empty() {
                page = (PAGE_BYTES / (bytes / got.kvs.len() + 1)).clamp(16, LARGEST_PAGE);
            }
            response.kvs.extend(got.kvs.into_iter().map(convert::key_value));
            response.more = got.more;
            let full = request.limit != 0 && response.kvs.len() >= request.limit;
            match response.kvs.last() {
                Some(last) if got.more && !full => start = successor(&last.key),
                _ => return Ok(response),
            }
        }
    }
}

/// Makes a request until it gets an answer other than that it was not done.
async fn attempt<T, F>(kind: Kind, mut request: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, etcd_client::Error>>,
{
    let mut pause = FIRST_PAUSE;
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match request().await.map_err(|error| errors::map(error, kind)) {
            Err(error) if left > 0 && error.is_retriable() && !errors::is_lost_lease(&error) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            answer => return answer,
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse> {
        if key.is_empty() {
            return Err(Error::Invalid("a key must not be empty".into()));
        }
        let mut options = GetOptions::new();
        if let Some(at) = at {
            options = options.with_revision(at as i64);
        }
        let got = match self.read(key, options).await {
            Ok(got) => got,
            Err(error) => return Err(self.explain(error, at).await),
        };
        Ok(GetResponse {
            revision: convert::revision(got.header.as_ref())?,
            kv: got.kvs.into_iter().next().map(convert::key_value),
        })
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse> {
        if !request.end.is_empty() && request.start >= request.end {
            let revision = self.current_revision().await?;
            return Ok(RangeResponse { revision, ..Default::default() });
        }
        let mut attempts = RANGE_ATTEMPTS;
        loop {
            attempts -= 1;
            match self.pages(&request).await {
                // Nobody chose the revision, so a newer one will do.
                Err(Error::Compacted { .. }) if request.revision.is_none() && attempts > 0 => {}
                Err(error) => return Err(self.explain(error, request.revision).await),
                Ok(response) => return Ok(response),
            }
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse> {
        validate::txn(&txn)?;
        let writes = txn.success.iter().chain(&txn.failure).any(crate::Op::is_write);
        let kind = if writes { Kind::Write } else { Kind::Read };
        let mut attempts = 2;
        loop {
            attempts -= 1;
            self.check_open()?;
            let mut used = Vec::new();
            let granting = convert::txn(&txn, &self.leases, &mut used);
            let request = tokio::time::timeout(self.options.request_timeout, granting)
                .await
                .map_err(|_| Error::Unavailable("etcd did not grant a lease in time".into()))??;
            let answer = self.call(kind, || {
                let mut kv = self.kv.clone();
                let request = request.clone();
                async move { kv.txn(request).await }
            });
            match answer.await {
                Ok(response) => return convert::txn_response(&txn, response),
                Err(error) if errors::is_lost_lease(&error) => {
                    self.leases.forget(&used);
                    if attempts == 0 {
                        return Err(error);
                    }
                }
                Err(error) => return Err(self.explain(error, None).await),
            }
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream> {
        self.check_open()?;
        let next = match request.start_revision {
            Some(start) => start.max(1),
            // From a revision that we know, so that a broken connection is mended without a gap.
            None => self.current_revision().await? + 1,
        };
        Ok(watcher::start(self.watches.clone(), self.kv.clone(), request, next, self.closed.subscribe()))
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let answer = self.call(Kind::Write, || {
            let mut kv = self.kv.clone();
            async move { kv.compact(revision as i64, None).await }
        });
        match answer.await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain(error, Some(revision)).await),
        }
    }

    async fn current_revision(&self) -> Result<Revision> {
        let got = self.read(PROBE, GetOptions::new().with_count_only());
        convert::revision(got.await?.header.as_ref())
    }

    async fn status(&self) -> Result<StoreStatus> {
        let revision = self.current_revision().await?;
        let status = self.call(Kind::Read, || {
            let mut client = self.client.maintenance_client();
            async move { client.status().await }
        });
        let status = status.await?;
        Ok(StoreStatus {
            backend: format!("etcd {}", status.version()),
            revision,
            compact_revision: None,
            bytes: status.db_size().max(0) as u64,
            bytes_in_use: u64::try_from(status.0.db_size_in_use).ok(),
        })
    }

    async fn close(&self) -> Result<()> {
        self.closed.send_replace(true);
        Ok(())
    }
}
