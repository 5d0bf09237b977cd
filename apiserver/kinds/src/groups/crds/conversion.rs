//! What is wrong with how the objects of a definition are converted.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kplane_machinery::field::ErrorList;

use crate::groups::admission::client_config;
use crate::val::At;
use crate::{ca_bundle, check};

/// Why nobody can be trusted by the bundle of a spec's webhook.
fn bundle_fault(spec: &At<'_>) -> Option<String> {
    let bundle = spec.at(&["conversion", "webhook", "clientConfig", "caBundle"]);
    ca_bundle::fault(&STANDARD.decode(bundle.str()).unwrap_or_default())
}

pub(super) fn conversion(spec: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    let conversion = spec.f("conversion");
    let (strategy, webhook) = (conversion.f("strategy"), conversion.f("webhook"));
    if spec.f("preserveUnknownFields").is_true() && strategy.str() == "Webhook" {
        strategy.invalid(errors, "must be None if spec.preserveUnknownFields is true");
    }
    strategy.required_one_of(errors, &["None", "Webhook"]);
    // As upstream's internal version names the fields.
    let named =
        |field: &str, name: &str| At::new(Some(webhook.f(field).value()), conversion.path.child(name));
    let (config, accepted) = (
        named("clientConfig", "webhookClientConfig"),
        named("conversionReviewVersions", "conversionReviewVersions"),
    );
    if strategy.str() != "Webhook" {
        let told = "should not be set when strategy is not set to Webhook";
        for field in [&config, &accepted] {
            if field.there() && !(field.value().is_array() && field.len() == 0) {
                field.forbidden(errors, told);
            }
        }
        return;
    }
    if config.there() {
        client_config(&config, errors);
        // One that was good stays good; what never was may be mended later, and until then the kind is not served.
        let was_good = old.is_some_and(|old| bundle_fault(old).is_none());
        if let Some(why) = bundle_fault(spec).filter(|_| was_good) {
            config.f("caBundle").invalid(errors, format!("unable to load root certificates: {why}"));
        }
    } else {
        config.required(errors, "required when strategy is set to Webhook");
    }
    if accepted.len() == 0 {
        return accepted.required(errors, "");
    }
    let mut seen = HashSet::new();
    for version in accepted.items() {
        if !seen.insert(version.str()) {
            version.invalid(errors, "duplicate version");
            continue;
        }
        version.invalid_all(errors, check::label1035(version.str()));
    }
    if !["v1", "v1beta1"].iter().any(|known| seen.contains(known)) {
        accepted.invalid(errors, "must include at least one of v1, v1beta1");
    }
}
