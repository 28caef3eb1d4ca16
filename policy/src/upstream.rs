//! Reads `upstream`: how the origin of a destination is connected to. It opens none of the files that it names.

use std::path::PathBuf;

use crate::fields::Field;
use crate::problem::Problems;
use crate::rule::{ClientCert, UpstreamHttp, UpstreamOptions};

pub(crate) fn read(field: &Field<'_>, problems: &mut Problems) -> UpstreamOptions {
    let Some(fields) = field.mapping(problems, &["ca", "client_cert", "http"]) else {
        return UpstreamOptions::default();
    };
    let versions = [("auto", UpstreamHttp::Auto), ("1.1", UpstreamHttp::Http1), ("2", UpstreamHttp::Http2)];
    UpstreamOptions {
        ca: fields.get("ca").map_or_else(Vec::new, |list| list.parse_items(problems, absolute_path)),
        client_cert: fields.get("client_cert").and_then(|field| client_cert(&field, problems)),
        http: fields.get("http").and_then(|field| field.choice(problems, &versions)).unwrap_or_default(),
    }
}

fn client_cert(field: &Field<'_>, problems: &mut Problems) -> Option<ClientCert> {
    let fields = field.mapping(problems, &["certificate", "key"])?;
    let mut file = |key, example| fields.require(problems, key, example)?.parse(problems, absolute_path);
    let certificate = file("certificate", "the path of a PEM file with the certificate and its chain");
    let key = file("key", "the path of a PEM file with the certificate's key");
    Some(ClientCert { certificate: certificate?, key: key? })
}

fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() && !text.contains('\0') {
        return Ok(path);
    }
    Err(format!("{text:?} is not an absolute path; write it from / on"))
}
