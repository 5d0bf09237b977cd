//! Webhooks that refuse objects, all at once.

use async_trait::async_trait;
use futures::future::join_all;
use kplane_machinery::Status;
use serde_json::Value;

use super::call::{self, Failure, Turn};
use super::matching::{Matched, converted, is_exempt, matches};
use super::review;
use crate::{Attributes, Plugin};

/// The plugin.
pub struct ValidatingAdmissionWebhook;

#[async_trait]
impl Plugin for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        !is_exempt(attributes)
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
        let configuration = attributes.reader.configuration().await?;
        let object = review::has_object(attributes).then_some(object);
        let mut asked = Vec::new();
        for hook in &configuration.validating {
            match matches(hook, attributes, object).await? {
                Matched::No => {}
                Matched::Ignored(why) => call::failed_open(hook, &why),
                Matched::Seen(seen) => asked.push((hook, seen)),
            }
        }
        let answers = join_all(asked.iter().map(|(hook, seen)| async move {
            let shown = converted(attributes, object, seen).await.map_err(Failure::Internal)?;
            let old = converted(attributes, attributes.old, seen).await.map_err(Failure::Internal)?;
            call::call(hook, attributes, &seen.version, shown, old, false).await
        }));
        // All are heard, and the first in order that refuses is what the client reads.
        for (index, ((hook, _), answer)) in asked.iter().zip(answers.await).enumerate() {
            match answer {
                Ok(_) => {}
                Err(Failure::Calling(why)) if !hook.fails_closed => {
                    call::failed_open(hook, &why);
                    let turn = Turn { again: false, index };
                    call::annotate_failed_open(hook, attributes, "validating", turn);
                }
                Err(failure) => return Err(failure.into_status(hook)),
            }
        }
        Ok(())
    }
}
