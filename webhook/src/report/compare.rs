//! What the sidecars of a cluster are compared with: the renderings that its webhook published or, where the caller may
//! not read those, the configured image alone.

use std::collections::BTreeMap;
use std::fmt;

use kube::{Client, Error};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::asked;
use crate::config::Config;
use crate::pod;
use crate::rendering::Rendering;
use crate::renderings::RENDERINGS_CONFIG_MAP;

/// The namespace of the webhook.
const NAMESPACE: &str = "sandgate-system";
/// The annotation with the times of publication: a JSON object, hash to RFC 3339.
const TIMES: &str = "sandgate.dev/published";

/// What sidecars are compared with.
#[derive(Debug)]
pub(super) struct Comparison {
    /// The configuration, for bounds and images.
    pub(super) config: Config,
    /// The renderings of the webhook, the one that was published last first; empty where they can't be read.
    pub(super) renderings: Vec<Rendering>,
    /// Why they can't be read.
    pub(super) without: String,
}

impl Comparison {
    /// What a cluster's webhook published, as far as the caller may read it.
    ///
    /// # Errors
    /// A cluster that can't be asked at all.
    pub(super) async fn read(client: &Client, config: &Config) -> anyhow::Result<Self> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{RENDERINGS_CONFIG_MAP}");
        let request = http::Request::get(&path).body(Vec::new())?;
        let (renderings, without) = match client.request::<Value>(request).await {
            Ok(object) => (newest_first(&object), "it is empty".to_owned()),
            Err(Error::Api(status)) => (Vec::new(), status.reason.clone()),
            Err(error) => return Err(asked(&path, error)),
        };
        Ok(Self { config: config.clone(), renderings, without })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = format!("ConfigMap {NAMESPACE}/{RENDERINGS_CONFIG_MAP}");
        match self.renderings.first() {
            Some(newest) => write!(
                f,
                "what the webhook makes, field by field: rendering {} of {map}, version {}",
                newest.hash(),
                newest.version
            ),
            None => {
                write!(f, "the image {} alone, for {map} can't be read ({})", self.config.sidecar.image, self.without)
            }
        }
    }
}

fn newest_first(object: &Value) -> Vec<Rendering> {
    let annotation = object.pointer("/metadata/annotations").and_then(|annotations| annotations.get(TIMES));
    let times: BTreeMap<String, String> =
        annotation.and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let time = |hash: &String| times.get(hash).and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
    let data = object.get("data").and_then(Value::as_object).into_iter().flatten();
    let mut found: Vec<_> = data
        .filter_map(|(hash, text)| Some((time(hash), serde_json::from_str::<Rendering>(text.as_str()?).ok()?)))
        .collect();
    // Without a time it is older than any with one.
    found.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    found.into_iter().map(|(_, rendering)| rendering).collect()
}

/// The image of a container.
pub(super) fn image(container: &Value) -> &str {
    pod::text(container, "/image").unwrap_or("none")
}
