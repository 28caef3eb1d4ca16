//! The ConfigMap of renderings: what is in one, what one rendering more makes of it, and what has to go. Does no I/O.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::rendering::{Rendering, hash_of};

/// The annotation with the times of publication: a JSON object, hash to RFC 3339.
const TIMES: &str = "sandgate.dev/published";
/// How many renderings are kept.
const MOST: usize = 16;
/// The youngest time is not written again while it is younger than this, so that restarts change nothing. Of an earlier
/// one it is: who goes back to it uses it from then on, and `report` compares with the youngest.
const FRESH: Duration = Duration::HOUR;

/// What is published.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Published {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    rendering: Rendering,
    /// The JSON as it came: another version's may have more in it than we read, and its hash is over all of that.
    text: String,
    /// When a replica last published it; the epoch where that is not written.
    at: OffsetDateTime,
}

impl Published {
    /// What a ConfigMap holds. What is no rendering, or not the one that its key says, is left out with a warning.
    pub(super) fn read(object: &ConfigMap) -> Self {
        let times = times(object);
        let mut entries = BTreeMap::new();
        for (key, text) in object.data.iter().flatten() {
            let at = times.get(key).copied().unwrap_or(OffsetDateTime::UNIX_EPOCH);
            match parse(key, text) {
                Ok(rendering) => drop(entries.insert(key.clone(), Entry { rendering, text: text.clone(), at })),
                Err(why) => tracing::warn!(%key, why, "a published rendering is ignored"),
            }
        }
        Self { entries }
    }

    /// Adds a rendering, or renews its time; the oldest ones go past the limit. Whether anything changed.
    pub(super) fn add(&mut self, rendering: &Rendering, now: OffsetDateTime) -> bool {
        let hash = rendering.hash();
        let is_youngest = |entry: &Entry| self.entries.values().all(|other| other.at <= entry.at);
        if self.entries.get(&hash).is_some_and(|entry| now - entry.at < FRESH && is_youngest(entry)) {
            return false;
        }
        let text = serde_json::to_string(rendering).expect("a rendering is JSON");
        self.entries.insert(hash.clone(), Entry { rendering: rendering.clone(), text, at: now });
        while self.entries.len() > MOST {
            let others = self.entries.iter().filter(|(other, _)| **other != hash);
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.at).map(|(oldest, _)| oldest.clone()) else {
                break;
            };
            self.entries.remove(&oldest);
        }
        true
    }

    /// `object` with exactly these renderings.
    pub(super) fn write(&self, mut object: ConfigMap) -> ConfigMap {
        let time = |entry: &Entry| entry.at.format(&Rfc3339).expect("a time between 1970 and 9999");
        let times: BTreeMap<&String, String> = self.entries.iter().map(|(hash, entry)| (hash, time(entry))).collect();
        let times = serde_json::to_string(&times).expect("texts are JSON");
        object.data = Some(self.entries.iter().map(|(hash, entry)| (hash.clone(), entry.text.clone())).collect());
        object.metadata.annotations.get_or_insert_default().insert(TIMES.to_owned(), times);
        object
    }

    /// Whether a rendering is in it.
    pub(super) fn has(&self, hash: &str) -> bool {
        self.entries.contains_key(hash)
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The renderings by hash.
    pub(super) fn renderings(&self) -> impl Iterator<Item = (&String, &Rendering)> {
        self.entries.iter().map(|(hash, entry)| (hash, &entry.rendering))
    }
}

/// A rendering whose content is what its key says.
fn parse(key: &str, text: &str) -> Result<Rendering, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let rendering = Rendering::deserialize(&json).map_err(|error| error.to_string())?;
    if hash_of(json) == key { Ok(rendering) } else { Err("its content has another hash".to_owned()) }
}

/// The times of an annotation; none where it can't be read, for they only decide what goes first.
fn times(object: &ConfigMap) -> BTreeMap<String, OffsetDateTime> {
    let text = object.metadata.annotations.as_ref().and_then(|annotations| annotations.get(TIMES));
    let times: BTreeMap<String, String> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    times.into_iter().filter_map(|(hash, at)| Some((hash, OffsetDateTime::parse(&at, &Rfc3339).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendering(version: &str) -> Rendering {
        Rendering {
            version: version.to_owned(),
            configuration: "0123456789ab".to_owned(),
            container: json!({"name": "auth-proxy"}),
            volumes: vec![json!({"name": "sandgate-trust"})],
            trust_mount: json!({}),
            environment_required: vec![("A".to_owned(), "b".to_owned())],
            environment: Vec::new(),
            given: None,
        }
    }

    fn at(minutes: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::minutes(minutes)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut published = Published::default();
        assert!(published.add(&rendering("1"), at(0)));
        assert!(published.add(&rendering("2"), at(1)));
        assert_eq!(Published::read(&published.write(ConfigMap::default())), published);
    }

    #[test]
    fn past_sixteen_the_oldest_goes_and_what_is_published_again_is_young() {
        let mut published = Published::default();
        for version in 0..16 {
            published.add(&rendering(&version.to_string()), at(version));
        }
        assert!(!published.add(&rendering("15"), at(59)), "it is fresh");
        assert!(published.add(&rendering("0"), at(61)));
        assert!(published.add(&rendering("16"), at(62)));
        assert_eq!(published.entries.len(), 16);
        assert!(published.has(&rendering("0").hash()) && published.has(&rendering("16").hash()));
        assert!(!published.has(&rendering("1").hash()));
    }

    #[test]
    fn who_goes_back_to_an_earlier_rendering_soon_makes_it_the_youngest_again() {
        let mut published = Published::default();
        published.add(&rendering("good"), at(0));
        published.add(&rendering("bad"), at(5));
        assert!(published.add(&rendering("good"), at(6)), "report compares with the youngest");
        assert!(!published.add(&rendering("good"), at(7)));
        let youngest = published.entries.values().max_by_key(|entry| entry.at).unwrap();
        assert_eq!(youngest.rendering, rendering("good"));
    }

    #[test]
    fn what_is_no_rendering_or_has_another_hash_is_left_out() {
        let mut published = Published::default();
        published.add(&rendering("1"), at(0));
        let mut object = published.write(ConfigMap::default());
        let data = object.data.as_mut().unwrap();
        data.insert("000000000000".to_owned(), serde_json::to_string(&rendering("1")).unwrap());
        data.insert("garbage".to_owned(), "{".to_owned());
        assert_eq!(Published::read(&object), published);
    }

    #[test]
    fn what_a_newer_version_publishes_is_taken_and_survives_being_written_by_this_one() {
        let mut newer = serde_json::to_value(rendering("9")).unwrap();
        newer["novelty"] = json!({"z": 1, "a": [2]});
        let (key, text) = (hash_of(newer.clone()), newer.to_string());
        let object = ConfigMap { data: Some(BTreeMap::from([(key.clone(), text.clone())])), ..ConfigMap::default() };
        let mut published = Published::read(&object);
        assert_eq!(published.renderings().next(), Some((&key, &rendering("9"))));
        published.add(&rendering("1"), at(0));
        assert_eq!(published.write(object).data.unwrap()[&key], text);
    }

    #[test]
    fn foreign_annotations_and_labels_stay() {
        let mut published = Published::default();
        published.add(&rendering("1"), at(0));
        let object: ConfigMap =
            serde_json::from_value(json!({"metadata": {"annotations": {"a": "b"}, "labels": {"c": "d"}}})).unwrap();
        let written = published.write(object);
        assert_eq!(written.metadata.annotations.unwrap()["a"], "b");
        assert_eq!(written.metadata.labels.unwrap()["c"], "d");
    }
}
