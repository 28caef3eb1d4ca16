//! The Secret that replicas agree in: its CAs as texts that were checked, and back. Does no I/O; never prints a key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rustls::pki_types::CertificateDer;
use sandgate_ca::{Authority, AuthorityError, KeyType, Profile};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::stage::{Change, Facts, Record, View};

const CURRENT: [&str; 2] = ["ca.crt", "ca.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];
const PREVIOUS: &str = "previous.crt";
/// The annotation in which replicas say what they serve while a rotation runs: a JSON object by pod name.
const SERVING: &str = "sandgate.dev/serving";

/// The CAs of the Secret.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) current: Arc<Authority>,
    pub(super) next: Option<Arc<Authority>>,
    /// The previous CA's certificate; its key is gone.
    previous: Option<Trusted>,
    serving: BTreeMap<String, Record>,
}

#[derive(Clone)]
struct Trusted {
    pem: String,
    facts: Facts,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("view", &self.view()).finish_non_exhaustive()
    }
}

/// What a Secret turned out to be.
pub(super) enum Read {
    /// All of it is sound.
    Sound(Held),
    /// The current CA is sound, and something else was left out; the text says what.
    Damaged(Held, String),
    /// There is no CA in it that could sign; the text says why.
    Broken(String),
}

impl Held {
    /// A new CA and nothing else.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub(super) fn new(lifetime: Duration, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let current = Arc::new(authority(lifetime, now)?);
        Ok(Self { current, next: None, previous: None, serving: BTreeMap::new() })
    }

    /// What the rotation looks at.
    pub(super) fn view(&self) -> View {
        View {
            current: facts(&self.current),
            next: self.next.as_deref().map(facts),
            previous: self.previous.as_ref().map(|previous| previous.facts.clone()),
            serving: self.serving.clone(),
        }
    }

    /// What every caBundle has to be, to the byte.
    pub(super) fn bundle(&self) -> String {
        let previous = self.previous.iter().map(|previous| previous.pem.clone());
        let current = [self.current.certificate_pem()];
        previous.chain(current).chain(self.next.iter().map(|next| next.certificate_pem())).collect()
    }

    /// Whether a CA is among these, in whatever place.
    pub(super) fn trusts(&self, id: &str) -> bool {
        self.view().cas().any(|ca| ca.id == id)
    }

    /// These CAs, with `other`'s current one trusted as the previous one, so that nobody who serves it is cut off.
    pub(super) fn beside(&self, other: &Self) -> Self {
        Self { previous: Some(Trusted::of(&other.current)), ..self.clone() }
    }

    /// These CAs after a change that `replica` makes at `now`.
    ///
    /// # Errors
    /// When a new CA is needed and the cryptographic library fails.
    pub(super) fn changed(
        &self,
        change: Change,
        replica: &str,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<Self, AuthorityError> {
        let mut changed = self.clone();
        match change {
            Change::Replace => match changed.next.take().filter(|next| now < next.not_after()) {
                Some(next) => (changed.current, changed.previous) = (next, None),
                None => changed = Self::new(lifetime, now)?,
            },
            Change::AddNext => changed.next = Some(Arc::new(authority(lifetime, now)?)),
            Change::Switch => {
                if let Some(next) = changed.next.take() {
                    changed.previous = Some(Trusted::of(&changed.current));
                    changed.current = next;
                }
            }
            Change::DropPrevious => {
                changed.previous = None;
                changed.serving.clear();
            }
            Change::Record => {
                let beat = now.format(&Rfc3339).expect("a time between 1970 and 9999");
                changed.serving.insert(replica.to_owned(), Record { ca: facts(&self.current).id, beat });
            }
        }
        Ok(changed)
    }

    /// What a Secret holds.
    pub(super) fn read(secret: &Secret) -> Read {
        let current = match pair(secret, CURRENT) {
            Ok(Some(current)) => current,
            Ok(None) => return Read::Broken(format!("it lacks {} or {}", CURRENT[0], CURRENT[1])),
            Err(why) => return Read::Broken(why),
        };
        let (next, previous) = (pair(secret, NEXT), text(secret, PREVIOUS).map(Trusted::read).transpose());
        let damage: Vec<String> =
            [next.as_ref().err(), previous.as_ref().err()].into_iter().flatten().cloned().collect();
        let (next, previous) = (next.ok().flatten(), previous.ok().flatten());
        let held = Self { current, next, previous, serving: serving(secret) };
        if damage.is_empty() { Read::Sound(held) } else { Read::Damaged(held, damage.join("; ")) }
    }

    /// `secret` with exactly these CAs; its name, labels and other annotations stay.
    pub(super) fn write(&self, mut secret: Secret) -> Secret {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: String| data.insert(key.to_owned(), ByteString(text.into_bytes()));
        put(CURRENT[0], self.current.chain_pem());
        put(CURRENT[1], self.current.private_key_pem());
        if let Some(next) = &self.next {
            put(NEXT[0], next.chain_pem());
            put(NEXT[1], next.private_key_pem());
        }
        if let Some(previous) = &self.previous {
            put(PREVIOUS, previous.pem.clone());
        }
        secret.data = Some(data);
        secret.string_data = None;
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.remove(SERVING);
        if !self.serving.is_empty() {
            let record = |record: &Record| json!({"ca": record.ca, "at": record.beat});
            let serving: serde_json::Map<_, _> =
                self.serving.iter().map(|(replica, at)| (replica.clone(), record(at))).collect();
            annotations.insert(SERVING.to_owned(), serde_json::Value::Object(serving).to_string());
        }
        secret
    }
}

impl Trusted {
    fn of(ca: &Authority) -> Self {
        Self { pem: ca.certificate_pem(), facts: facts(ca) }
    }

    fn read(pem: String) -> Result<Self, String> {
        let wrong = |why: &dyn fmt::Display| format!("{PREVIOUS}: {why}");
        let chain = sandgate_ca::authority::read_chain(&pem).map_err(|error| wrong(&error))?;
        let (_, certificate) = X509Certificate::from_der(&chain[0]).map_err(|error| wrong(&error))?;
        let validity = certificate.validity();
        let facts = Facts {
            id: fingerprint(&chain[0]),
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
        };
        Ok(Self { pem, facts })
    }
}

fn authority(lifetime: Duration, now: OffsetDateTime) -> Result<Authority, AuthorityError> {
    Authority::generate(&Profile {
        // Two CAs of one bundle are told apart by people, too.
        common_name: format!("Sandgate webhook CA {}", now.unix_timestamp()),
        organization: None,
        lifetime: lifetime.try_into().map_err(|_| AuthorityError::Lifetime)?,
        key_type: KeyType::P256,
        constraints: None,
    })
}

pub(super) fn facts(ca: &Authority) -> Facts {
    Facts { id: fingerprint(ca.certificate_der()), not_before: ca.not_before(), not_after: ca.not_after() }
}

fn fingerprint(der: &CertificateDer<'_>) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A CA of the Secret; `None` when neither of its keys is there. Ended ones are refused by their reading.
fn pair(secret: &Secret, keys: [&str; 2]) -> Result<Option<Arc<Authority>>, String> {
    match keys.map(|key| text(secret, key)) {
        [None, None] => Ok(None),
        [Some(certificate), Some(key)] => match Authority::from_pem(&certificate, &key) {
            Ok(authority) if authority.is_root() => Ok(Some(Arc::new(authority))),
            Ok(authority) => Err(format!("{}: {} is not self-signed", keys[0], authority.subject())),
            Err(error) => Err(format!("{}, {}: {error}", keys[0], keys[1])),
        },
        _ => Err(format!("one of {} and {} is missing", keys[0], keys[1])),
    }
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    // What is no text is no PEM either, and is refused as such.
    secret.data.as_ref()?.get(key).map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())
}

/// What replicas said; nothing where it can't be read, for they say it again.
fn serving(secret: &Secret) -> BTreeMap<String, Record> {
    let text = secret.metadata.annotations.as_ref().and_then(|annotations| annotations.get(SERVING));
    let records: BTreeMap<String, BTreeMap<String, String>> =
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let record =
        |mut fields: BTreeMap<String, String>| Some(Record { ca: fields.remove("ca")?, beat: fields.remove("at")? });
    records.into_iter().filter_map(|(replica, fields)| Some((replica, record(fields)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn held() -> Held {
        Held::new(DAY, OffsetDateTime::now_utc()).unwrap()
    }

    fn changed(held: &Held, change: Change) -> Held {
        held.changed(change, "pod-1", DAY, OffsetDateTime::now_utc()).unwrap()
    }

    fn sound(secret: &Secret) -> Held {
        match Held::read(secret) {
            Read::Sound(held) => held,
            Read::Damaged(_, why) | Read::Broken(why) => panic!("{why}"),
        }
    }

    #[test]
    fn every_stage_is_read_back_as_it_was_written_and_leaves_nothing_behind() {
        let first = held();
        let next = changed(&first, Change::AddNext);
        let next = changed(&next, Change::Record);
        let switched = changed(&next, Change::Switch);
        let done = changed(&switched, Change::DropPrevious);
        let mut secret = Secret::default();
        for (stage, held) in [(0, &first), (1, &next), (2, &switched), (0, &done)] {
            secret = held.write(secret);
            let read = sound(&secret);
            assert_eq!((read.view(), read.bundle()), (held.view(), held.bundle()));
            assert_eq!(read.view().stage(), stage);
        }
        let keys: Vec<String> = secret.data.unwrap().into_keys().collect();
        assert_eq!(keys, ["ca.crt", "ca.key"]);
        assert_eq!(secret.metadata.annotations.unwrap().len(), 0);
        assert_ne!(done.view().current.id, first.view().current.id);
        assert_eq!(switched.bundle().matches("BEGIN").count(), 2);
    }

    #[test]
    fn broken_texts_are_told_from_damage_beside_a_sound_ca() {
        let secret = held().write(Secret::default());
        let with = |key: &str, text: &str| {
            let mut secret = secret.clone();
            secret.data.as_mut().unwrap().insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
            Held::read(&secret)
        };
        let other = held();
        for (key, text) in [("ca.crt", "garbage"), ("ca.key", ""), ("ca.crt", &other.current.certificate_pem())] {
            assert!(matches!(with(key, text), Read::Broken(_)), "{key}");
        }
        for key in ["next.crt", "next.key", "previous.crt"] {
            assert!(matches!(with(key, "garbage"), Read::Damaged(..)), "{key}");
        }
        assert!(matches!(Held::read(&Secret::default()), Read::Broken(_)));
    }

    #[test]
    fn a_ca_that_ended_is_replaced_by_the_next_one_or_a_new_one() {
        let first = held();
        let fresh = changed(&first, Change::Replace);
        assert!(!fresh.trusts(&first.view().current.id) && fresh.view().stage() == 0);
        let rotating = changed(&first, Change::AddNext);
        let replaced = changed(&rotating, Change::Replace);
        assert_eq!(replaced.view().current, rotating.view().next.unwrap());
    }

    #[test]
    fn no_debug_output_shows_a_key() {
        let held = held();
        let shown = format!("{held:?}");
        assert!(!shown.contains("PRIVATE") && shown.contains(&held.view().current.id), "{shown}");
    }
}
