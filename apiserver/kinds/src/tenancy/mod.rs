//! Our own group, `tenancy.kplane.dev`: root's record of a virtual control plane.

mod strategy;

use std::sync::Arc;

use kplane_machinery::schema::{ListType, MapType, PatchStrategy, Property, Schema, SchemaLink, SchemaType};
use serde_json::Value;

pub use strategy::{DATA_FINALIZER, VirtualClusters};

/// The group.
pub const GROUP: &str = "tenancy.kplane.dev";
/// Its one version.
pub const VERSION: &str = "v1alpha1";

fn scalar(schema_type: SchemaType) -> Schema {
    Schema { schema_type, ..Schema::default() }
}

fn property(name: &str, schema: Schema, description: &str) -> Property {
    Property {
        name: name.into(),
        number: 0,
        schema: schema.into(),
        description: description.into(),
        default: None,
        patch: PatchStrategy::default(),
        list_type: ListType::default(),
        map_type: MapType::default(),
        enumeration: Vec::new(),
    }
}

fn text(name: &str, description: &str) -> Property {
    property(name, scalar(SchemaType::String), description)
}

fn object(mut properties: Vec<Property>, required: &[&str]) -> Schema {
    properties.sort_by(|a, b| a.name.cmp(&b.name));
    Schema {
        schema_type: SchemaType::Object,
        properties,
        required: required.iter().map(|r| Arc::from(*r)).collect(),
        ..Schema::default()
    }
}

fn list_of(items: Schema) -> Schema {
    Schema { schema_type: SchemaType::Array, items: Some(SchemaLink::from(items)), ..Schema::default() }
}

fn map_of(values: Schema) -> Schema {
    Schema {
        schema_type: SchemaType::Object,
        additional: Some(SchemaLink::from(values)),
        ..Schema::default()
    }
}

/// `spec.auth`. The shape of issuers is that of `jwt` in an `AuthenticationConfiguration`; who reads them checks it.
fn auth() -> Schema {
    let open = Schema { schema_type: SchemaType::Object, preserve_unknown: true, ..Schema::default() };
    let mut issuers = property(
        "issuers",
        list_of(open),
        "The issuers of tokens that are accepted: as jwt of an AuthenticationConfiguration.",
    );
    issuers.list_type = ListType::Atomic;
    object(vec![issuers], &[])
}

/// `metadata`, as every object has it.
fn metadata() -> Property {
    let open = Schema { schema_type: SchemaType::Object, preserve_unknown: true, ..Schema::default() };
    let mut metadata = property("metadata", open, "Standard object's metadata.");
    if let Some(schema) = kplane_schema::builtin().get("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") {
        metadata.schema = schema;
    }
    metadata
}

/// The shape of a `Layer`, which is answered and not stored under its name.
pub fn layer_schema() -> Schema {
    let mut manifests = property(
        "manifests",
        list_of(scalar(SchemaType::String)),
        "Objects in YAML: built-in ones, CustomResourceDefinitions and objects of these.",
    );
    manifests.list_type = ListType::Atomic;
    let status = object(
        vec![
            text("hash", "The content hash, for spec.layers of a VirtualCluster."),
            property("objects", scalar(SchemaType::Integer), "How many objects the layer holds."),
        ],
        &[],
    );
    let mut root = object(
        vec![
            text("apiVersion", "The versioned schema of this representation of the object."),
            text("kind", "The REST resource this object represents."),
            metadata(),
            property("spec", object(vec![manifests], &["manifests"]), "What the layer holds."),
            property("status", status, "The answer."),
        ],
        &["spec"],
    );
    root.description =
        "Layer stores objects that control planes share without a copy of their own, and is answered with their content hash."
            .into();
    root
}

/// `spec.limits`.
fn limits() -> Schema {
    let number = |name: &str, description: &str| property(name, scalar(SchemaType::Integer), description);
    object(
        vec![
            number("requestsInFlight", "Requests answered at once."),
            number("requestsPerSecond", "Requests begun in a second."),
            number("objects", "Objects kept."),
            text("bytes", "Bytes of the objects kept, as a quantity such as 64Mi."),
            number("watches", "Watches open at once."),
        ],
        &[],
    )
}

/// The shape of a `VirtualCluster`. Its `metadata` is that of every object and is not described here.
pub fn virtual_cluster_schema() -> Schema {
    let mut policy = text(
        "deletionPolicy",
        "What deleting this record does with the data: Retain keeps it for adoption, Destroy removes it.",
    );
    policy.default = Some(Value::from("Destroy"));
    policy.enumeration = vec!["Destroy".into(), "Retain".into()];
    let owner = object(
        vec![
            text("apiVersion", "The API version of the owner."),
            text("kind", "The kind of the owner."),
            text("name", "The name of the owner."),
            text("uid", "The uid of the owner, by which the path is claimed."),
        ],
        &["apiVersion", "kind", "name", "uid"],
    );
    let mut layers = property(
        "layers",
        list_of(scalar(SchemaType::String)),
        "The layers this control plane starts from, by content hash, the lowest first.",
    );
    layers.list_type = ListType::Atomic;
    let mut allowed = property(
        "allowedCIDRs",
        list_of(scalar(SchemaType::String)),
        "Ranges of addresses that may be reached although they are denied otherwise.",
    );
    allowed.list_type = ListType::Set;
    let revocation = object(
        vec![
            text(
                "generation",
                "The one generation of the user's certificates that is good; none when it is not set.",
            ),
            text("until", "When the last certificate of another generation ends, and this may be forgotten."),
        ],
        &[],
    );
    let spec = object(
        vec![
            property(
                "egress",
                object(vec![allowed], &[]),
                "What calls that this control plane directs, such as webhooks, may reach besides.",
            ),
            property("owner", owner, "The object that declared this control plane, if one did."),
            policy,
            property(
                "detached",
                scalar(SchemaType::Boolean),
                "The path answers as if there were no control plane, and all data is kept.",
            ),
            text("className", "The ControlPlaneClass this control plane was made with."),
            property("limits", limits(), "What this control plane may use. What is not set is not limited."),
            layers,
            property(
                "credentialEpoch",
                scalar(SchemaType::Integer),
                "Only certificates and tokens issued in this epoch are good. It cannot go back, and goes on by itself \
                 when another owner takes up the data.",
            ),
            property(
                "revocations",
                map_of(revocation),
                "The users of whose certificates only one generation is good, or none.",
            ),
            property("auth", auth(), "How users of the control plane are known besides."),
        ],
        &[],
    );
    let condition = object(
        vec![
            text("type", "What the condition is about, in CamelCase."),
            text("status", "True, False or Unknown."),
            property("observedGeneration", scalar(SchemaType::Integer), "The generation it was seen at."),
            text("lastTransitionTime", "When the status last changed."),
            text("reason", "Why, for programs."),
            text("message", "Why, for people."),
        ],
        &["lastTransitionTime", "message", "reason", "status", "type"],
    );
    let mut conditions =
        property("conditions", list_of(condition), "The latest observations of the control plane.");
    conditions.list_type = ListType::Map(vec!["type".into()]);
    conditions.patch = PatchStrategy { merge: true, retain_keys: false, merge_key: Some("type".into()) };
    let status = object(
        vec![
            text(
                "phase",
                "Where the control plane is in its life: Pending, Active, Detached or Terminating.",
            ),
            text("uid", "The identity under which the data of the control plane is kept."),
            property("observedGeneration", scalar(SchemaType::Integer), "The generation last acted on."),
            conditions,
        ],
        &[],
    );
    let mut root = object(
        vec![
            text("apiVersion", "The versioned schema of this representation of the object."),
            text("kind", "The REST resource this object represents."),
            metadata(),
            property("spec", spec, "What is wanted of the control plane."),
            property("status", status, "What is known of the control plane."),
        ],
        &[],
    );
    root.description =
        "VirtualCluster is the record of a virtual control plane; one exists if and only if its record does."
            .into();
    root
}
