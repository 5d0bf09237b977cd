//! Pages read from the store, at the present or at a past revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use kplane_storage::{RangeRequest, prefix_end};

use crate::hot::{Entry, Span, Visible, merge};
use crate::layer_set::Inherited;
use crate::registry::Core;
use crate::sets::{PAGE, rel_of};
use crate::{Error, ResourceKey, Stored, Vcp};

/// Where a page is read.
pub(crate) struct Place<'a> {
    pub vcp: &'a Vcp,
    pub inherited: &'a Inherited,
    pub resource: &'a ResourceKey,
    /// `None`: the present.
    pub revision: Option<u64>,
    /// How many objects there are, if that is known.
    pub behind: Option<u64>,
}

/// What was read.
pub(crate) struct Page {
    pub items: Vec<Stored>,
    pub more: bool,
    /// How many more there are, when all of them count.
    pub remaining: Option<u64>,
}

type Predicate<'a> = &'a (dyn Fn(&Stored) -> bool + Sync);

impl Core {
    /// Reads up to `limit` objects that satisfy the predicate.
    pub async fn page(
        &self,
        place: Place<'_>,
        span: &Span,
        limit: Option<usize>,
        predicate: Option<Predicate<'_>>,
    ) -> Result<Page, Error> {
        let tail = place.resource.tail();
        let templates = place.inherited.resource(&tail);
        let mut revision = place.revision;
        let mut items: Vec<Stored> = Vec::new();
        let mut span = span.clone();
        // What is behind the page, while it is counted.
        let mut behind = 0;
        let mut full = false;
        loop {
            let wanted = limit.map_or(PAGE, |limit| limit.saturating_sub(items.len()).clamp(1, PAGE - 1) + 1);
            let wanted = if full || predicate.is_some() { PAGE } else { wanted };
            let chunk = self.chunk(place.vcp, place.resource, &span, wanted, revision).await?;
            revision = Some(chunk.revision);
            let last = chunk.objects.last_key_value().map(|(rel, _)| rel.clone());
            // Up to the last key read, all is known; without more keys, up to the end.
            let boundary = if chunk.more { last } else { None };
            let within = |rel: &Arc<str>| boundary.as_ref().is_none_or(|boundary| rel <= boundary);
            let mut passed: Option<Arc<str>> = None;
            for object in merge(chunk.objects.iter(), span.range(templates)) {
                let (Visible::Own(rel, _) | Visible::Inherited(rel, _)) = &object;
                if !within(rel) {
                    break;
                }
                if full && predicate.is_none() {
                    behind += 1;
                    continue;
                }
                let rel = Arc::clone(rel);
                let Some(stored) = object.stored(place.vcp, place.inherited)? else { continue };
                if predicate.is_none_or(|predicate| predicate(&stored)) {
                    if full {
                        return Ok(Page { items, more: true, remaining: None });
                    }
                    items.push(stored);
                    full = limit.is_some_and(|limit| items.len() >= limit);
                    passed = Some(rel);
                }
            }
            let Some(boundary) = boundary else {
                let remaining = predicate.is_none().then_some(behind);
                return Ok(Page { items, more: behind > 0, remaining });
            };
            // Where no layer has a say, the store's count tells what is left.
            if full && predicate.is_none() && templates.is_empty() {
                if let Some(known) = place.behind {
                    let left = known.saturating_sub(items.len() as u64);
                    // There are more keys, whatever was told.
                    return Ok(Page { items, more: true, remaining: Some(left.max(1)) });
                }
                if let Some(passed) = passed {
                    span = span.behind(&passed);
                }
                let left = self.count(place.vcp, place.resource, &span, chunk.revision).await?;
                return Ok(Page { items, more: left > 0, remaining: Some(left) });
            }
            span = span.behind(&boundary);
        }
    }

    fn request(&self, vcp: &Vcp, resource: &ResourceKey, span: &Span) -> (String, RangeRequest) {
        let prefix = self.keys.scope(&resource.scope(vcp.id));
        let (start, end) = span.keys();
        let end = match end {
            Some(end) => format!("{prefix}{end}").into(),
            None => prefix_end(prefix.as_bytes()),
        };
        let request = RangeRequest::between(format!("{prefix}{start}"), end);
        (prefix, request)
    }

    async fn chunk(
        &self,
        vcp: &Vcp,
        resource: &ResourceKey,
        span: &Span,
        limit: usize,
        revision: Option<u64>,
    ) -> Result<Chunk, Error> {
        let (prefix, mut request) = self.request(vcp, resource, span);
        request.limit = limit;
        request.revision = revision;
        request.skip_count = true;
        let asked = revision.unwrap_or(0);
        let range = self.store.range(request).await.map_err(|e| Error::from(e).asked(asked))?;
        let mut objects = BTreeMap::new();
        for kv in &range.kvs {
            objects.insert(rel_of(&kv.key, &prefix)?.into(), Entry::new(kv.mod_revision, &kv.value)?);
        }
        Ok(Chunk { objects, more: range.more, revision: revision.unwrap_or(range.revision) })
    }

    async fn count(
        &self,
        vcp: &Vcp,
        resource: &ResourceKey,
        span: &Span,
        revision: u64,
    ) -> Result<u64, Error> {
        let (_, mut request) = self.request(vcp, resource, span);
        request.count_only = true;
        request.revision = Some(revision);
        Ok(self.store.range(request).await.map_err(|e| Error::from(e).asked(revision))?.count)
    }
}

struct Chunk {
    objects: BTreeMap<Arc<str>, Entry>,
    more: bool,
    revision: u64,
}
