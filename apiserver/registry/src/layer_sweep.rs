//! Layers that were uploaded: kept while a control plane names them or somebody uploads them again, and collected after.
//!
//! ```text
//! .meta/uploaded/<hash>   a layer that may be collected; written anew by each upload
//! .meta/retired/<hash>    a layer that is being collected: no pin may name it from here on
//! ```
//!
//! A layer is retired first, and only then is it made sure that no pin names it. Whoever writes a pin that names an
//! uploaded layer compares that it is there and not retired, so that a pin comes either before the retirement, and is
//! seen, or not at all.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use kplane_storage::{Compare, Op, RangeRequest, Txn, prefix_end, successor};

use crate::registry::Registry;
use crate::{ContentHash, Error, Layer};

/// As many keys are looked at or removed at once.
const PAGE: usize = 100;

/// Since when which version of which uploaded layer is named by nobody, as one replica saw it.
#[derive(Debug, Default)]
pub struct Unnamed {
    since: HashMap<ContentHash, (u64, Instant)>,
}

impl Registry {
    /// Stores a layer that is collected once nobody names it, or says of one that is stored that it is still wanted.
    pub async fn upload_layer(&self, layer: &Layer) -> Result<ContentHash, Error> {
        let core = &self.core;
        let hash = layer.hash();
        let text = hash.to_string();
        let retired = core.keys.content("retired", &text);
        // Before the layer itself: what an upload that fails leaves behind is collected too.
        core.store.put(core.keys.content("uploaded", &text).into(), "{}".into()).await?;
        if core.store.delete(retired.into()).await?.1 {
            // Whoever was collecting it may have begun to.
            return core.layers.write_layer(layer).await;
        }
        core.layers.ensure_layer(layer).await
    }

    /// Whether a layer is there and stays.
    pub async fn has_layer(&self, hash: ContentHash) -> Result<bool, Error> {
        let text = hash.to_string();
        let keys = [self.core.keys.content("layers", &text), self.core.keys.content("retired", &text)];
        let response = self.core.store.txn(Txn::new().and_then(keys.map(Op::get))).await?;
        Ok(response.kv(0).is_some() && response.kv(1).is_none())
    }

    /// What a write that makes a pin name layers compares.
    pub fn layers_stay(&self, layers: &[ContentHash]) -> Vec<Compare> {
        let compares = layers.iter().flat_map(|hash| {
            let text = hash.to_string();
            [
                Compare::exists(self.core.keys.content("layers", &text)),
                Compare::absent(self.core.keys.content("retired", &text)),
            ]
        });
        compares.collect()
    }

    /// Collects the uploaded layers that nobody named or uploaded for `grace`, and says how many went. Called from
    /// time to time, with the same memory.
    pub async fn collect_layers(&self, unnamed: &mut Unnamed, grace: Duration) -> Result<usize, Error> {
        let core = &self.core;
        core.progress.fresh().await?;
        let named = self.layers_named();
        let now = Instant::now();
        let prefix = core.keys.content("uploaded", "");
        let mut request = RangeRequest::between(prefix.clone(), prefix_end(prefix.as_bytes())).limit(PAGE);
        request.keys_only = true;
        request.skip_count = true;
        let mut seen = HashSet::new();
        let mut due = Vec::new();
        loop {
            let page = core.store.range(request.clone()).await?;
            for kv in &page.kvs {
                let hash = kv.key.get(prefix.len()..).and_then(|key| std::str::from_utf8(key).ok());
                let Some(hash) = hash.and_then(ContentHash::parse).filter(|hash| !named.contains(hash))
                else {
                    continue;
                };
                seen.insert(hash);
                let since = unnamed.since.entry(hash).or_insert((kv.mod_revision, now));
                if since.0 != kv.mod_revision {
                    *since = (kv.mod_revision, now);
                }
                if now.saturating_duration_since(since.1) >= grace {
                    due.push((hash, kv.mod_revision));
                }
            }
            match page.kvs.last() {
                Some(last) if page.more => request.start = successor(&last.key),
                _ => break,
            }
        }
        unnamed.since.retain(|hash, _| seen.contains(hash));
        let mut collected = 0;
        for (hash, uploaded) in due {
            collected += usize::from(self.collect(hash, uploaded).await?);
        }
        Ok(collected)
    }

    fn layers_named(&self) -> HashSet<ContentHash> {
        self.core.layers.named()
    }

    async fn collect(&self, hash: ContentHash, uploaded_at: u64) -> Result<bool, Error> {
        let core = &self.core;
        let text = hash.to_string();
        let (uploaded, retired) = (core.keys.content("uploaded", &text), core.keys.content("retired", &text));
        let still = Compare::unchanged(uploaded.clone(), uploaded_at);
        let retire = Txn::new().when([still.clone()]).and_then([Op::put(retired.clone(), "{}")]);
        let response = core.store.txn(retire).await?;
        if !response.succeeded {
            return Ok(false);
        }
        let retired_at = response.revision;
        let ours = Compare::unchanged(retired.clone(), retired_at);
        core.progress.reach(retired_at).await?;
        if self.layers_named().contains(&hash) {
            core.store.txn(Txn::new().when([ours]).and_then([Op::delete(retired)])).await?;
            return Ok(false);
        }
        let head = core.keys.content("layers", &text);
        let chunks = format!("{head}/");
        let end = prefix_end(chunks.as_bytes());
        // The head first: what has none is not there.
        let txn = Txn::new()
            .when([ours.clone(), still.clone()])
            .and_then([Op::delete(head), Op::delete_range(chunks, end)]);
        if !core.store.txn(txn).await?.succeeded {
            return Ok(false);
        }
        let txn = Txn::new().when([ours, still]).and_then([Op::delete(uploaded), Op::delete(retired)]);
        Ok(core.store.txn(txn).await?.succeeded)
    }
}
