//! What no setting can know alone: what several of them mean together.

use super::reading::Problems;
use super::{Certificate, Config, Server, Sidecar};
use crate::resources::{Quantity, Resources};

/// Adds every contradiction between settings.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    ports(&config.sidecar, problems);
    images(&config.sidecar, problems);
    resources(&config.sidecar, problems);
    server(&config.server, problems);
    certificate(&config.certificate, problems);
}

fn ports(sidecar: &Sidecar, problems: &mut Problems) {
    if sidecar.proxy_port == sidecar.health_port {
        let message = format!("proxyPort and healthPort are both {}; take two ports", sidecar.proxy_port);
        problems.refuse_together(&["sidecar.healthPort", "sidecar.proxyPort"], message);
    }
}

fn images(sidecar: &Sidecar, problems: &mut Problems) {
    if sidecar.accepted_images.contains(&sidecar.image) {
        let message = format!("{} is sidecar.image, which is accepted anyway; remove it", sidecar.image);
        problems.refuse_together(&["sidecar.acceptedImages", "sidecar.image"], message);
    }
}

/// One of the four quantities of [`Resources`].
struct Part {
    key: &'static str,
    of: fn(&Resources) -> &Quantity,
}

const PARTS: [Part; 4] = [
    Part { key: "requests.cpu", of: |resources| &resources.cpu_request },
    Part { key: "requests.memory", of: |resources| &resources.memory_request },
    Part { key: "limits.cpu", of: |resources| &resources.cpu_limit },
    Part { key: "limits.memory", of: |resources| &resources.memory_limit },
];

fn resources(sidecar: &Sidecar, problems: &mut Problems) {
    let bounds = ["sidecar.resourceBounds.min", "sidecar.resourceBounds.max"];
    let sets = [
        ("sidecar.resources", &sidecar.resources),
        (bounds[0], &sidecar.resources_min),
        (bounds[1], &sidecar.resources_max),
    ];
    for (path, set) in sets {
        for (request, limit) in [(0, 2), (1, 3)] {
            at_most((path, &PARTS[request], set), (path, &PARTS[limit], set), problems);
        }
    }
    let [own, min, max] = sets;
    for part in &PARTS {
        at_most((min.0, part, min.1), (max.0, part, max.1), problems);
        at_most((min.0, part, min.1), (own.0, part, own.1), problems);
        at_most((own.0, part, own.1), (max.0, part, max.1), problems);
    }
}

fn at_most(less: (&str, &Part, &Resources), more: (&str, &Part, &Resources), problems: &mut Problems) {
    let place = |(path, part, _): (&str, &Part, &Resources)| format!("{path}.{}", part.key);
    let ((_, part, set), (_, other, than)) = (less, more);
    let (value, bound) = ((part.of)(set), (other.of)(than));
    if value.milli() > bound.milli() {
        let (field, above) = (place(less), place(more));
        let message = format!("{field} is {value}, and {above} is {bound}; it may not be more");
        problems.refuse_together(&[&field, &above], message);
    }
}

fn server(server: &Server, problems: &mut Problems) {
    let port = server.listen.port();
    if port != 0 && port == server.admin_listen.port() {
        let message = format!("listen and adminListen both have port {port}; take two ports");
        problems.refuse_together(&["server.adminListen", "server.listen"], message);
    }
    if server.drain_delay > server.drain_grace {
        let message = "drainDelay is a part of drainGrace, and longer than it; make it shorter, or drainGrace longer";
        problems.refuse_together(&["server.drainDelay", "server.drainGrace"], message);
    }
}

fn certificate(certificate: &Certificate, problems: &mut Problems) {
    let Certificate { ca_lifetime, serving_lifetime, rotate_before, trust_delay, .. } = certificate;
    for (sound, fields, message) in [
        (
            rotate_before < ca_lifetime,
            ["certificate.rotateBefore", "certificate.caLifetime"],
            "rotateBefore has to be less than caLifetime, or each CA is replaced as soon as it is made",
        ),
        (
            serving_lifetime < ca_lifetime,
            ["certificate.servingLifetime", "certificate.caLifetime"],
            "servingLifetime has to be less than caLifetime, or a certificate would outlive its CA",
        ),
        (
            trust_delay < rotate_before,
            ["certificate.trustDelay", "certificate.rotateBefore"],
            "trustDelay has to be less than rotateBefore, or a CA ends before the next one serves",
        ),
    ] {
        if !sound {
            problems.refuse_together(&fields, message);
        }
    }
}
