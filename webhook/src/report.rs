//! `report`: a cluster's pods that lack the sidecar where it belongs, or have an old one. It asks with the rights of the
//! caller's kubeconfig, changes nothing, and keeps no more than a page of pods in memory.

mod compare;
mod finding;
mod remark;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use kube::api::ListParams;
use kube::core::Request;
use kube::{Client, Error};
use serde_json::{Value, json};

use crate::cli::{self, Output};
use crate::config::Config;
use crate::mode::Mode;
use crate::names::INJECT_LABEL;
use crate::offline::EXEMPT;
use crate::pod;
use compare::Comparison;
use finding::Finding;
use remark::remarks;

/// How many objects a call returns at most.
const PAGE: u32 = 500;

/// Runs the command: the list to `out`, what it was compared with to `notes`. It fails (exit code 1) where a pod is
/// listed.
///
/// # Errors
/// A cluster that can't be asked, with what the caller lacks.
pub async fn run(
    report: &cli::Report,
    config: &Config,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let client = Client::try_default().await.context("no cluster to ask: set KUBECONFIG, or log in")?;
    let comparison = Comparison::read(&client, config).await?;
    let (namespaces, remarks) = namespaces(&client, report.namespace.as_deref()).await?;
    let mut findings = Vec::new();
    for (name, mode) in &namespaces {
        each(&client, &format!("/api/v1/namespaces/{name}/pods"), None, |pod| {
            findings.extend(Finding::of(name, *mode, pod, &comparison));
        })
        .await?;
    }
    match report.output {
        Output::Json => writeln!(out, "{:#}", json(&comparison, &remarks, &findings))?,
        Output::Table => {
            let count = namespaces.len();
            let plural = if count == 1 { "" } else { "s" };
            writeln!(notes, "{count} namespace{plural}; sidecars are compared with {comparison}")?;
            for remark in remarks {
                writeln!(notes, "note: {remark}")?;
            }
            out.write_all(finding::table(&findings).as_bytes())?;
        }
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn json(comparison: &Comparison, remarks: &[String], findings: &[Finding]) -> Value {
    let pods: Vec<Value> = findings.iter().map(Finding::json).collect();
    json!({ "comparedWith": comparison.to_string(), "notes": remarks, "pods": pods })
}

/// The namespaces to look at, with their modes, and what there is to say about them: the one that is named, or every
/// labelled one that may have sidecars.
async fn namespaces(client: &Client, only: Option<&str>) -> anyhow::Result<(Vec<(String, Mode)>, Vec<String>)> {
    let mut found = Vec::new();
    if let Some(name) = only {
        found.push(get(client, &format!("/api/v1/namespaces/{name}")).await?);
    } else {
        each(client, "/api/v1/namespaces", Some(INJECT_LABEL), |namespace| found.push(namespace.clone())).await?;
    }
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    for namespace in &found {
        let label = namespace.pointer("/metadata/labels").and_then(|labels| labels.get(INJECT_LABEL));
        let name = pod::text(namespace, "/metadata/name").unwrap_or_default().to_owned();
        let mode = Mode::of_label(label.and_then(Value::as_str));
        if only.is_some() || mode != Mode::Disabled {
            notes.extend(remarks(&name, mode, namespace));
            all.push((name, mode));
        }
    }
    all.retain(|(name, _)| !EXEMPT.contains(&name.as_str()));
    Ok((all, notes))
}

/// Calls `visit` for every object of a list, page by page.
async fn each(
    client: &Client,
    path: &str,
    labels: Option<&str>,
    mut visit: impl FnMut(&Value) + Send,
) -> anyhow::Result<()> {
    let mut parameters = ListParams::default().limit(PAGE);
    parameters.label_selector = labels.map(str::to_owned);
    loop {
        let request = Request::new(path).list(&parameters).context("a list's address")?;
        let page: Value = client.request(request).await.map_err(|error| asked(path, error))?;
        pod::elements(&page, "items").for_each(&mut visit);
        match pod::text(&page, "/metadata/continue").filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(token),
            None => return Ok(()),
        }
    }
}

async fn get(client: &Client, path: &str) -> anyhow::Result<Value> {
    let request = http::Request::get(path).body(Vec::new()).context("an object's address")?;
    client.request(request).await.map_err(|error| asked(path, error))
}

/// What went wrong with a call, in the API server's words.
fn asked(path: &str, error: Error) -> anyhow::Error {
    match error {
        Error::Api(status) => anyhow::anyhow!("the API server refused {path}: {}", status.message),
        other => anyhow::Error::new(other).context(format!("the API server could not be asked for {path}")),
    }
}
