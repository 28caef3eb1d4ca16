//! Which CA signs, which are trusted, and when that changes: trust first, sign later.
//!
//! Pure decisions on a clock that the caller brings. Reading files, making CAs and telling others is in the
//! submodules. Nothing here signs with a CA that the trust files do not have yet.

mod files;
mod keeper;
mod made;

use std::collections::VecDeque;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sandgate_ca::{Authority, San};
use sandgate_policy::destination::Host;
use time::{Duration, OffsetDateTime};

pub use files::CaFiles;
pub use keeper::{CaError, End, Keeper, Source, Status};
pub use made::MadeCa;

use crate::leaf;

/// How long a new CA is only trusted, unless told otherwise: a day, in which long-lived programs start again and read
/// the bundle that has it.
pub const DEFAULT_OVERLAP: Duration = Duration::DAY;
/// When a CA has no longer than this, its successor signs whatever the overlap says: leaves would end too soon.
const NEAR_END: Duration = Duration::HOUR;
/// When no CA lives longer than this, it is said aloud: someone has to bring another one.
const LAST_DAY: Duration = Duration::DAY;

/// The CAs of this process: the one that signs, those that will, and those that did.
#[derive(Clone, Debug)]
pub struct Authorities {
    current: Arc<Authority>,
    /// Trusted already; the one that takes over first is in front.
    successors: VecDeque<Successor>,
    retired: Vec<Retired>,
    /// Trusted on the operator's word: what a rotation left behind.
    previous: Vec<CertificateDer<'static>>,
    overlap: Duration,
}

#[derive(Clone, Debug)]
struct Successor {
    authority: Arc<Authority>,
    trusted_since: OffsetDateTime,
}

/// A CA that signs no more, trusted while leaves that it signed may be served.
#[derive(Clone, Debug)]
struct Retired {
    authority: Arc<Authority>,
    until: OffsetDateTime,
}

/// What a step changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Another CA signs now.
    pub signing: bool,
    /// A CA is no longer trusted.
    pub trust: bool,
}

impl Authorities {
    /// One CA that signs from now on. Others will sign after `overlap`.
    #[must_use]
    pub fn new(current: Arc<Authority>, overlap: Duration) -> Self {
        Self { current, successors: VecDeque::new(), retired: Vec::new(), previous: Vec::new(), overlap }
    }

    /// Makes `authority` the last successor, trusted from `now` on. One that is known already comes back to its place
    /// instead, and those after it are given up: that is what an operator means by putting an older pair back.
    pub fn offer(&mut self, authority: Arc<Authority>, now: OffsetDateTime) {
        let is_same = |other: &Authority| other.certificate_der() == authority.certificate_der();
        let known = self.successors.iter().position(|successor| is_same(&successor.authority));
        let keep = if is_same(&self.current) { Some(0) } else { known.map(|place| place + 1) };
        let given_up = self.successors.split_off(keep.unwrap_or(self.successors.len()));
        // They may have signed what the current CA may not.
        given_up.into_iter().for_each(|successor| self.retire(successor.authority, now));
        if keep.is_none() {
            self.retired.retain(|retired| !is_same(&retired.authority));
            self.successors.push_back(Successor { authority, trusted_since: now });
        }
    }

    /// Replaces the certificates that are trusted on the operator's word.
    pub fn trust_previous(&mut self, certificates: Vec<CertificateDer<'static>>) {
        self.previous = certificates;
    }

    /// Does what is due at `now`: successors take over, and CAs whose leaves are all gone lose their trust.
    pub fn step(&mut self, now: OffsetDateTime) -> Change {
        let mut change = Change::default();
        let before = self.retired.len() + self.successors.len();
        self.successors.retain(|next| now < next.authority.not_after());
        self.retired.retain(|retired| now < retired.until);
        change.trust = self.retired.len() + self.successors.len() < before;
        while let Some(next) = self
            .successors
            .pop_front_if(|next| now >= next.trusted_since + self.overlap || now + NEAR_END >= self.current.not_after())
        {
            let old = std::mem::replace(&mut self.current, next.authority);
            self.retire(old, now);
            change.signing = true;
        }
        change
    }

    /// Who signs now.
    #[must_use]
    pub fn signing(&self) -> Signing {
        let successors = self.successors.iter().map(|successor| &successor.authority);
        Signing { authorities: std::iter::once(&self.current).chain(successors).cloned().collect() }
    }

    /// The certificates that clients must trust, each once; those of the CA that signs come first.
    #[must_use]
    pub fn trusted(&self) -> Vec<CertificateDer<'static>> {
        let signing = self.signing();
        let retired = self.retired.iter().map(|retired| &retired.authority);
        let chains = signing.authorities.iter().chain(retired).flat_map(|authority| chain(authority));
        let mut trusted = Vec::new();
        for certificate in chains.chain(self.previous.iter().cloned()) {
            if !trusted.contains(&certificate) {
                trusted.push(certificate);
            }
        }
        trusted
    }

    /// The CA that will sign when all successors have taken over.
    #[must_use]
    pub fn newest(&self) -> &Arc<Authority> {
        self.successors.back().map_or(&self.current, |successor| &successor.authority)
    }

    /// When the last CA that may sign ends, if that is past or within a day of `now`.
    #[must_use]
    pub fn end(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let successors = self.successors.iter().map(|successor| successor.authority.not_after());
        Some(successors.fold(self.current.not_after(), Ord::max)).filter(|end| *end - now <= LAST_DAY)
    }

    fn retire(&mut self, authority: Arc<Authority>, now: OffsetDateTime) {
        let until = (now + leaf::LIFETIME).min(authority.not_after());
        self.retired.push(Retired { authority, until });
    }
}

/// The CAs that may sign at the moment, in order of preference. All of them are in the trust files.
#[derive(Clone, Debug)]
pub struct Signing {
    authorities: Vec<Arc<Authority>>,
}

impl Signing {
    /// No CA at all, so that no host gets a certificate.
    #[must_use]
    pub fn nobody() -> Self {
        Self { authorities: Vec::new() }
    }

    /// The CA that signs for hosts that it may sign for.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<Authority>> {
        self.authorities.first()
    }

    /// The CA that signs for `host` at `now`: the current one, or where its name constraints exclude the host the
    /// first successor that may.
    #[must_use]
    pub fn signer_for(&self, host: &Host, now: OffsetDateTime) -> Option<&Arc<Authority>> {
        self.authorities.iter().find(|authority| now < authority.not_after() && authority.permits(san(host)))
    }

    /// The CAs in order of preference.
    #[must_use]
    pub fn authorities(&self) -> &[Arc<Authority>] {
        &self.authorities
    }
}

impl PartialEq for Signing {
    fn eq(&self, other: &Self) -> bool {
        self.authorities
            .iter()
            .map(|it| it.certificate_der())
            .eq(other.authorities.iter().map(|it| it.certificate_der()))
    }
}

/// The name in a leaf for `host`.
#[must_use]
pub fn san(host: &Host) -> San<'_> {
    match host {
        Host::Name(name) => San::Dns(name),
        Host::Address(address) => San::Address(*address),
    }
}

fn chain(authority: &Authority) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(authority.chain_pem().as_bytes()).filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests;
