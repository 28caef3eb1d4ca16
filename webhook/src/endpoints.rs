//! The paths of the API server's calls, each to its decision. What goes wrong in HTTP is an error here; what is wrong with
//! an object is a decision's.
//!
//! The mode comes from the path, which the API server chose by the namespace's labels as it sees them; the namespace from
//! the review. Nothing here looks into an object further than its kind.

mod body;
pub(crate) mod rejection;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path as Segment, Request as HttpRequest, State};
use axum::response::Response;
use axum::routing::post;
use http::header::{self, HeaderValue};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::admission::{Answer, Request, printable};
use crate::config::Config;
use crate::decision::{Decision, Refusal};
use crate::metrics::{Metrics, Path, Rejected};
use crate::mode::Mode;
use crate::namespaces::Namespaces;
use crate::reason::{Outcome, Reason};
use crate::rendering::Rendering;
use crate::renderings::Renderings;
use crate::situation::Situation;
use crate::workload::WORKLOADS;
use crate::{mutate, policies, template, validate, workload};
use body::Bounds;
use rejection::{Rejection, Sparing};

/// The configuration in force, and what it makes. Taken as one, so that a review never sees halves of two.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The configuration.
    pub config: Config,
    /// Its hash.
    pub hash: String,
    /// What it makes.
    pub rendering: Rendering,
}

/// What the endpoints work with.
pub struct Reviews {
    in_force: Arc<ArcSwap<InForce>>,
    namespaces: Arc<Namespaces>,
    renderings: Arc<Renderings>,
    metrics: Arc<Metrics>,
    bounds: Bounds,
    /// Bytes of large bodies, all together.
    large_bodies: Arc<Semaphore>,
    complaints: Sparing,
    refusals: Sparing,
}

impl Reviews {
    /// The bounds of bodies are those of the configuration that is in force now.
    #[must_use]
    pub fn new(
        in_force: Arc<ArcSwap<InForce>>,
        namespaces: Arc<Namespaces>,
        renderings: Arc<Renderings>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let bounds = {
            let server = &in_force.load().config.server;
            Bounds { bytes: server.max_body_bytes, time: server.request_timeout }
        };
        Arc::new(Self {
            large_bodies: Arc::new(Semaphore::new(bounds.all_large())),
            complaints: Sparing::default(),
            refusals: Sparing::default(),
            in_force,
            namespaces,
            renderings,
            metrics,
            bounds,
        })
    }
}

type Decide = fn(&Situation<'_>, &Request) -> Decision;

/// What a path is for.
#[derive(Clone, Copy)]
struct Call {
    path: Path,
    mode: Option<Mode>,
    decide: Decide,
}

/// The paths of the API server's calls.
pub fn router(reviews: Arc<Reviews>) -> Router {
    Router::new()
        .route("/mutate/{mode}", moded(Path::Mutate, mutate::mutate))
        .route("/validate/{mode}", moded(Path::Validate, validate::validate))
        .route("/validate/templates/{mode}", moded(Path::Templates, of_template))
        .route(
            "/validate/policies",
            post(|State(reviews): State<Arc<Reviews>>, request: HttpRequest| async move {
                let call = Call { path: Path::Policies, mode: None, decide: of_policy };
                reviews.respond(call, request).await
            }),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(reviews)
}

fn moded(path: Path, decide: Decide) -> axum::routing::MethodRouter<Arc<Reviews>> {
    post(move |State(reviews): State<Arc<Reviews>>, Segment(mode): Segment<String>, request: HttpRequest| async move {
        match Mode::from_name(&mode) {
            Some(mode) => reviews.respond(Call { path, mode: Some(mode), decide }, request).await,
            None => reviews.reject(&Rejection::new(Rejected::NotFound, "the path's last part names no mode")),
        }
    })
}

fn of_template(situation: &Situation<'_>, request: &Request) -> Decision {
    let kind = request.kind.rsplit('/').next().unwrap_or_default();
    match workload::pod_template(kind, &request.object) {
        Some(pod) => template::template(situation, pod),
        // Never a refusal: the API server says itself what is wrong with it.
        None => Decision::pass(Reason::NotAsked),
    }
}

/// A template is never refused, also where nothing is known of its namespace.
fn unjudged(refusal: &Refusal) -> Decision {
    let message = format!("nobody looked at what will happen to the pods: {}", refusal.message);
    Decision { warnings: vec![message.clone()], message, ..Decision::pass(Reason::NotAsked) }
}

fn of_policy(situation: &Situation<'_>, request: &Request) -> Decision {
    policies::validate_policy(situation.namespace, situation.config, request)
}

async fn not_found(State(reviews): State<Arc<Reviews>>) -> Response {
    let paths = "there are /mutate/MODE, /validate/MODE, /validate/templates/MODE and /validate/policies";
    reviews.reject(&Rejection::new(Rejected::NotFound, paths))
}

async fn not_allowed(State(reviews): State<Arc<Reviews>>) -> Response {
    let mut response = reviews.reject(&Rejection::new(Rejected::Method, "reviews are sent with POST"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

impl Reviews {
    async fn respond(&self, call: Call, request: HttpRequest) -> Response {
        match self.review(call, request).await {
            Ok(answer) => json(&answer),
            Err(rejection) => self.reject(&rejection),
        }
    }

    fn reject(&self, rejection: &Rejection) -> Response {
        self.metrics.rejected(rejection.reason);
        self.complaints.say(|more| {
            let (status, why) = (rejection.reason.status().as_u16(), printable(&rejection.message, 512));
            tracing::warn!(status, why, more, "a request that is no review");
        });
        rejection::response(rejection.reason, &rejection.message)
    }

    async fn review(&self, call: Call, request: HttpRequest) -> Result<Value, Rejection> {
        let body = body::read(request, self.bounds, &self.large_bodies).await?;
        let began = Instant::now();
        let request = match Request::read(&body.bytes) {
            Ok(request) => request,
            Err(bad) => {
                let Some(denial) = bad.denial() else { return Err(Rejection::new(Rejected::BadReview, bad.message)) };
                self.refusals.say(|more| {
                    let (path, why) = (call.path.name(), printable(&bad.message, 512));
                    tracing::warn!(path, why, more, "a review that cannot be answered");
                });
                self.metrics.admitted(call.path, call.mode, Reason::NotOurs, began.elapsed());
                return Ok(denial);
            }
        };
        let (decision, configuration) = self.decide(call, &request).await?;
        let answer = Answer::new(&request.uid, &decision, call.mode.map(Mode::name), &configuration).to_json();
        let took = began.elapsed();
        self.metrics.admitted(call.path, call.mode, decision.reason, took);
        self.log(call, &request, &decision, took);
        Ok(answer)
    }

    /// The decision, and the hash of the configuration that it was made under.
    async fn decide(&self, call: Call, request: &Request) -> Result<(Decision, String), Rejection> {
        let namespace = match call.check(request) {
            Ok(()) => self
                .namespaces
                .get(&request.namespace)
                .await
                .map_err(|error| Refusal::new(Reason::NamespaceUnknown, error.to_string())),
            Err(why) => Err(Refusal::new(Reason::NotOurs, why)),
        };
        let (in_force, accepted) = (self.in_force.load_full(), self.renderings.accepted());
        let decision = match namespace {
            Err(refusal) if call.path == Path::Templates && refusal.reason == Reason::NamespaceUnknown => {
                unjudged(&refusal)
            }
            Err(refusal) => refusal.into(),
            Ok(namespace) => {
                let situation = Situation {
                    mode: call.mode.unwrap_or(Mode::Unlabelled),
                    namespace: &namespace,
                    config: &in_force.config,
                    rendering: &in_force.rendering,
                    accepted: &accepted,
                };
                guarded(|| (call.decide)(&situation, request)).ok_or_else(|| {
                    let (path, uid) = (call.path.name(), request.uid.as_str());
                    tracing::error!(path, uid, "a decision panicked; please report this");
                    Rejection::new(Rejected::Panic, "the decision failed because of a defect; please report it")
                })?
            }
        };
        Ok((decision, in_force.hash.clone()))
    }

    fn log(&self, call: Call, request: &Request, decision: &Decision, took: Duration) {
        let outcome = decision.reason.outcome();
        let (path, mode) = (call.path.name(), call.mode.map_or("", Mode::name));
        let (namespace, name) = (printable(&request.namespace, 64), printable(&request.name, 253));
        let (reason, micros) = (decision.reason.code(), u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if outcome == Outcome::Injected {
            tracing::debug!(path, mode, namespace, name, reason, uid = request.uid, micros, "injected");
            return;
        }
        self.refusals.say(|more| {
            let why = printable(&decision.message, 1024);
            let outcome = outcome.name();
            tracing::info!(path, mode, namespace, name, reason, why, uid = request.uid, micros, more, "{outcome}");
        });
    }
}

/// A decision that survives its own panic. The state that it may leave is its own: it is pure.
fn guarded(decide: impl FnOnce() -> Decision) -> Option<Decision> {
    catch_unwind(AssertUnwindSafe(decide)).ok()
}

fn json(value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Call {
    /// Whether the review is one of this path.
    fn check(&self, request: &Request) -> Result<(), String> {
        let operation = match (request.sub_resource.as_str(), request.operation.as_str()) {
            ("ephemeralcontainers", "UPDATE") => matches!(self.path, Path::Mutate | Path::Validate),
            ("", "CREATE") => true,
            ("", "UPDATE") => matches!(self.path, Path::Templates | Path::Policies),
            _ => false,
        };
        let kind = request.kind.as_str();
        let takes = match self.path {
            Path::Mutate | Path::Validate => kind == "v1/Pod",
            Path::Policies => kind == "v1/ConfigMap",
            Path::Templates => WORKLOADS.iter().any(|workload| !workload.is_pod() && is_kind(kind, workload)),
        };
        let path = self.path.name();
        if !takes {
            return Err(format!("the {path} path of the Sandgate webhook does not take {}", printable(kind, 128)));
        }
        if !operation {
            let (operation, resource) = (printable(&request.operation, 32), printable(&request.resource, 64));
            let of = printable(&request.sub_resource, 64);
            let of = if of.is_empty() { resource } else { format!("{resource}/{of}") };
            return Err(format!("the {path} path of the Sandgate webhook does not take {operation} of {of}"));
        }
        let object = |field| request.object.get(field).and_then(Value::as_str);
        if object("kind").is_some_and(|own| !kind.ends_with(&format!("/{own}"))) {
            return Err(format!("request.object says that it is another kind than request.kind, {kind}"));
        }
        if request.namespace.is_empty() {
            return Err("request.namespace is missing; everything that Sandgate looks at is in a namespace".to_owned());
        }
        Ok(())
    }
}

/// Whether `kind` (`group/version/kind`) is this workload's, in whatever version.
fn is_kind(kind: &str, workload: &workload::Workload) -> bool {
    let parts: Vec<&str> = kind.split('/').collect();
    match parts.as_slice() {
        [_, kind] => workload.group.is_empty() && *kind == workload.kind,
        [group, _, kind] => *group == workload.group && *kind == workload.kind,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
