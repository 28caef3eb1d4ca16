//! reqwest with the system's roots, or with those that are compiled in.

use std::io::Write as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("usage: clients native|webpki get|stream BASE");
    let (roots, what, base) = (next(), next(), next());
    rustls::crypto::ring::default_provider().install_default().expect("there is no other provider");
    let mut builder = reqwest::Client::builder();
    if roots == "webpki" {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        builder = builder.tls_certs_only(roots.map(|root| reqwest::Certificate::from_der(root)).collect::<Result<Vec<_>, _>>()?);
    }
    let path = if what == "stream" { "/sse?events=3" } else { "/zen" };
    let mut response = builder.build()?.get(base + path).send().await?;
    if !response.status().is_success() {
        return Err(format!("{}: {}", response.status(), response.text().await?).into());
    }
    while let Some(piece) = response.chunk().await? {
        std::io::stdout().write_all(&piece)?;
        std::io::stdout().flush()?;
    }
    Ok(())
}
