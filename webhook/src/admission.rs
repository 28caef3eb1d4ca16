//! AdmissionReview v1 as JSON: reading a review strictly, and writing the answer.
//!
//! The objects in it stay as they came. Nothing here decides.

mod answer;

use serde_json::{Map, Value};

pub use answer::{Answer, RETRY_AFTER_SECONDS, printable};

/// The version of reviews, in both directions.
const API_VERSION: &str = "admission.k8s.io/v1";
/// Their kind.
const KIND: &str = "AdmissionReview";
/// The longest identifier that is given back. The API server's have 36 characters.
const LONGEST_UID: usize = 128;

/// The most JSON values in a review. A pod of 100 containers, twice, with the fields that its managers own, has 50,000. An
/// object of one member takes 8 bytes to write and some 500 to hold.
const MOST_VALUES: usize = 200_000;

/// What the API server asks (`admission.k8s.io/v1` AdmissionRequest), as far as we look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The review's identifier, given back in the answer.
    pub uid: String,
    /// `group/version/kind` of the object; `v1/Pod` for the core group.
    pub kind: String,
    /// The resource, `pods`.
    pub resource: String,
    /// The subresource, `ephemeralcontainers`; empty for none.
    pub sub_resource: String,
    /// The namespace; empty where there is none.
    pub namespace: String,
    /// The name; empty while the API server has not generated it.
    pub name: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// Whether nothing is stored. Nothing we do has a side effect, so it changes nothing.
    pub dry_run: bool,
    /// The object; null on DELETE.
    pub object: Value,
    /// The object before; null on CREATE.
    pub old_object: Value,
}

/// Why a body is no review that can be answered under its own identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadReview {
    /// The identifier, where one could be read: then the answer is a denial that carries it, else a 400.
    pub uid: Option<String>,
    /// What is wrong, naming the field.
    pub message: String,
}

impl Request {
    /// Reads the body of a call. Depth is bounded by `serde_json` (128 levels), size by the caller, the number of values
    /// here.
    ///
    /// # Errors
    /// What is wrong with it, with the identifier if there is one.
    pub fn read(body: &[u8]) -> Result<Self, BadReview> {
        let anonymous = |message: String| BadReview { uid: None, message };
        if body.is_empty() {
            return Err(anonymous("the body is empty; POST an AdmissionReview of admission.k8s.io/v1".to_owned()));
        }
        if !holds_at_most(body, MOST_VALUES) {
            return Err(anonymous(format!("the body holds more than {MOST_VALUES} JSON values; no pod does")));
        }
        let review: Value =
            serde_json::from_slice(body).map_err(|error| anonymous(format!("the body is no JSON: {error}")))?;
        let Value::Object(mut review) = review else {
            return Err(anonymous("the body is no AdmissionReview: it is not a JSON object".to_owned()));
        };
        let request = review.remove("request");
        let uid = request.as_ref().and_then(|request| request.get("uid")).and_then(Value::as_str);
        let uid = uid.filter(|uid| !uid.is_empty() && uid.len() <= LONGEST_UID).map(str::to_owned);
        let named = |message| BadReview { uid: uid.clone(), message };
        expect(&review, "apiVersion", API_VERSION).map_err(named)?;
        expect(&review, "kind", KIND).map_err(named)?;
        match (request, &uid) {
            (None | Some(Value::Null), _) => Err(named("request is missing".to_owned())),
            (Some(Value::Object(_)), None) => {
                Err(named("request.uid is missing, empty, too long or not a string".to_owned()))
            }
            (Some(Value::Object(request)), Some(uid)) => Self::of(request, uid).map_err(named),
            (Some(_), _) => Err(named("request is not an object".to_owned())),
        }
    }

    fn of(mut request: Map<String, Value>, uid: &str) -> Result<Self, String> {
        let object = match request.remove("object") {
            Some(object @ Value::Object(_)) => object,
            None | Some(Value::Null) => return Err("request.object is missing".to_owned()),
            Some(_) => return Err("request.object is not an object".to_owned()),
        };
        let old_object = request.remove("oldObject").unwrap_or_default();
        if !matches!(old_object, Value::Object(_) | Value::Null) {
            return Err("request.oldObject is not an object".to_owned());
        }
        let resource = field(&request, "resource")?;
        let request = Self {
            uid: uid.to_owned(),
            kind: kind(field(&request, "kind")?),
            resource: resource.get("resource").and_then(Value::as_str).unwrap_or_default().to_owned(),
            sub_resource: text(&request, "subResource")?,
            namespace: text(&request, "namespace")?,
            name: text(&request, "name")?,
            operation: text(&request, "operation")?,
            dry_run: request.get("dryRun") == Some(&Value::Bool(true)),
            object,
            old_object,
        };
        for (name, value) in [("kind.kind", &request.kind), ("operation", &request.operation)] {
            if value.is_empty() {
                return Err(format!("request.{name} is missing"));
            }
        }
        Ok(request)
    }
}

/// Whether there are at most so many values in a JSON text: each but the first of its array or object follows a comma, and
/// the first a bracket. Told before reading, for what is read is many times as large.
fn holds_at_most(json: &[u8], most: usize) -> bool {
    let (mut values, mut in_text, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
    }
    values <= most
}

fn expect(review: &Map<String, Value>, field: &str, expected: &str) -> Result<(), String> {
    match review.get(field) {
        Some(Value::String(found)) if found == expected => Ok(()),
        Some(Value::String(found)) => {
            Err(format!("{field} is {:?}; this webhook answers {expected:?} only", answer::shortened(found, 64)))
        }
        _ => Err(format!("{field} is missing; this webhook answers {expected:?} only")),
    }
}

fn field<'a>(request: &'a Map<String, Value>, name: &str) -> Result<&'a Map<String, Value>, String> {
    request.get(name).and_then(Value::as_object).ok_or_else(|| format!("request.{name} is missing"))
}

/// A text that may be absent.
fn text(request: &Map<String, Value>, name: &str) -> Result<String, String> {
    match request.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("request.{name} is not a string")),
    }
}

/// `group/version/kind`, without the group where that is the core one; empty where there is no kind.
fn kind(kind: &Map<String, Value>) -> String {
    let part = |name: &str| kind.get(name).and_then(Value::as_str).unwrap_or_default();
    match (part("group"), part("version"), part("kind")) {
        (_, _, "") => String::new(),
        ("", version, kind) => format!("{version}/{kind}"),
        (group, version, kind) => format!("{group}/{version}/{kind}"),
    }
}

#[cfg(test)]
mod tests;
