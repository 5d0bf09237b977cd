//! Which form of an answer the client takes: `Accept`, with the table and metadata forms of lists.

use http::{HeaderMap, header};
use kplane_machinery::{Reason, Status, StatusDetails};

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Media {
    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// Its content type for a stream of watch events.
    pub fn stream_content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => self.content_type(),
        }
    }
}

/// What is shown of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// The objects themselves.
    #[default]
    Object,
    /// A `meta.k8s.io` `Table`.
    Table,
    /// Their metadata alone.
    Metadata,
}

/// A negotiated form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// How bytes are written.
    pub media: Media,
    /// What is shown.
    pub shape: Shape,
    /// The version of the `meta.k8s.io` group in use for tables and metadata is `v1beta1`, not `v1`.
    pub v1beta1: bool,
}

/// What a resource can be written as.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Protobuf as well as JSON and YAML (built-in kinds).
    pub protobuf: bool,
    /// Tables and metadata: of what is stored.
    pub shapes: bool,
    /// A custom resource, whose paths are no routes of the server's own.
    pub custom: bool,
}

impl Offer {
    fn media_types(self) -> &'static [&'static str] {
        const ALL: [&str; 3] =
            ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
        if self.protobuf { &ALL } else { &ALL[..2] }
    }

    fn stream_types(self) -> &'static [&'static str] {
        const ALL: [&str; 2] =
            ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
        if self.protobuf { &ALL } else { &ALL[..1] }
    }
}

/// Chooses the first acceptable form, by the client's order and weights.
pub fn accept(headers: &HeaderMap, offer: Offer) -> Result<Form, Status> {
    let text: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let text = text.join(",");
    let mut ranges: Vec<(i32, &str)> = text
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .map(|range| (weight(range), range))
        .collect();
    if ranges.is_empty() {
        return Ok(Form::default());
    }
    ranges.sort_by_key(|(weight, _)| -weight);
    // Two places refuse: the route, which looks at the media type alone, and the handler behind it.
    let routed = offer.custom
        || ranges.iter().any(|(_, range)| {
            let media = range.split(';').next().unwrap_or("").trim();
            media == "*/*" || offer.media_types().contains(&media)
        });
    if !routed {
        let offered: Vec<&str> = offer.media_types().iter().chain(offer.stream_types()).copied().collect();
        return Err(not_acceptable_of(&offered));
    }
    ranges.into_iter().find_map(|(_, range)| form_of(range, offer)).ok_or_else(|| only(offer.media_types()))
}

/// What a failure is written as: the first that is acceptable, else JSON.
pub fn of_failure(headers: &HeaderMap) -> Media {
    accept(headers, Offer { protobuf: true, shapes: false, custom: false })
        .map(|form| form.media)
        .unwrap_or_default()
}

/// The weight of a range in thousandths.
fn weight(range: &str) -> i32 {
    range
        .split(';')
        .filter_map(|p| p.trim().strip_prefix("q="))
        .find_map(|q| q.parse::<f64>().ok())
        .map_or(1000, |q| (q * 1000.0) as i32)
}

fn form_of(range: &str, offer: Offer) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    let media = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Media::Json,
        "application/yaml" => Media::Yaml,
        "application/vnd.kubernetes.protobuf" if offer.protobuf => Media::Protobuf,
        _ => return None,
    };
    let mut form = Form { media, ..Form::default() };
    let (mut group, mut version, mut kind) = ("", "", "");
    for part in parts {
        match part.split_once('=') {
            Some(("as", v)) => kind = v,
            Some(("g", v)) => group = v,
            Some(("v", v)) => version = v,
            _ => {}
        }
    }
    if !kind.is_empty() {
        if !offer.shapes || group != "meta.k8s.io" || !matches!(version, "v1" | "v1beta1") {
            return None;
        }
        form.v1beta1 = version == "v1beta1";
        form.shape = match kind {
            // A table has no protobuf form: the next range that is acceptable decides.
            "Table" if media == Media::Protobuf => return None,
            "Table" => Shape::Table,
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Metadata,
            _ => return None,
        };
    }
    Some(form)
}

/// 406 for a form that has no stream.
pub fn check_stream(form: Form, offer: Offer) -> Result<(), Status> {
    if form.media == Media::Yaml { Err(only(offer.stream_types())) } else { Ok(()) }
}

/// 406 in the words of the handlers.
fn only(types: &[&str]) -> Status {
    let types = types.join(", ");
    Status::new(406, Reason::NotAcceptable, format!("only the following media types are accepted: {types}"))
}

/// 406, naming what there is.
pub fn not_acceptable_of(offered: &[&str]) -> Status {
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", offered.join(", "));
    let mut status = Status::new(406, Reason::NotAcceptable, message);
    status.details = Some(Box::<StatusDetails>::default());
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept_header: &str) -> Result<Form, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept_header.parse().expect("a header value"));
        accept(&headers, Offer { protobuf: true, shapes: true, custom: false })
    }

    #[test]
    fn forms_are_chosen_by_order_and_weight() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(of(table).map(|f| f.shape), Ok(Shape::Table));
        assert_eq!(
            of("application/json;as=Nope;v=v1;g=meta.k8s.io,application/json").map(|f| f.shape),
            Ok(Shape::Object)
        );
        let typed = format!("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,{table}");
        assert_eq!(of(&typed).map(|f| (f.media, f.shape)), Ok((Media::Json, Shape::Table)));
        assert_eq!(of("application/json;q=0.1, application/yaml").map(|f| f.media), Ok(Media::Yaml));
        assert_eq!(
            of("application/vnd.kubernetes.protobuf,application/json").map(|f| f.media),
            Ok(Media::Protobuf)
        );
        assert_eq!(of("text/csv").map_err(|s| s.code), Err(406));
        assert_eq!(of("*/*").map(|f| f.media), Ok(Media::Json));
        let told = of("application/json;as=Nope;v=v1;g=meta.k8s.io").expect_err("no such form").message;
        assert!(told.starts_with("only the following media types are accepted: application/json,"), "{told}");
        let told = of("application/*").expect_err("no route").message;
        assert!(told.starts_with("406: Not Acceptable"), "{told}");
    }
}
