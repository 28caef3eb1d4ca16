//! Real clients against served leaves, told of the CA by the environment table and the trust files alone.

use std::path::Path;
use std::process::Output;

use sandgate_contract::environment;

use super::*;
use crate::authority::{CaFiles, Keeper, Source};
use crate::trust::TrustFiles;

const JAVA: &str = "import java.net.URL;\n\
    public class Client { public static void main(String[] a) throws Exception {\n\
    System.out.write(new URL(a[0]).openStream().readAllBytes()); System.out.flush(); } }\n";
const PYTHON: &str = "import sys,urllib.request as u; print(u.urlopen(sys.argv[1]).read())";
const NODE: &str = "fetch(process.argv[1]).then(r=>r.text()).then(t=>console.log(t))\
    .catch(e=>{console.error(e);process.exit(1)})";

/// Runs a client without any environment but the search path and what is given. Nobody listens where the proxy would
/// be: the address is loopback, so each client must find that in its list of direct hosts.
async fn run(command: &[&str], home: &Path, told: bool, trust: &Path) -> Output {
    let (program, args) = command.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
    if told {
        let proxy = SocketAddr::from(([127, 0, 0, 1], 1));
        let variables = environment(proxy, trust.to_str().unwrap(), &[]);
        command.envs(variables.into_iter().map(|(variable, value)| (variable.name, value)));
    }
    command.output().await.unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Serves `config` on loopback; each request is answered with a line of text.
async fn serve_http(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = ServerConfig::clone(&config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nreached!\n";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn clients_trust_the_leaf_with_the_environment_and_not_without() {
    let (ca, trust, home) = (year(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    TrustFiles::new(trust.path()).write(&[ca.certificate_der().clone()]).unwrap();
    let (cache, _signing) = cache(&ca, 16);
    let url = format!("https://{}/", serve_http(cache.server_config(&host("127.0.0.1")).unwrap()).await);
    let java = home.path().join("Client.java");
    std::fs::write(&java, JAVA).unwrap();
    let clients: [(&[&str], &str); 6] = [
        (&["curl", "-sS", &url], "reached!"),
        (&["wget", "-qO-", &url], "reached!"),
        (&["python3", "-c", PYTHON, &url], "reached!"),
        (&["node", "-e", NODE, &url], "reached!"),
        (&["java", java.to_str().unwrap(), &url], "reached!"),
        (&["git", "ls-remote", &url], "is this a git repository?"),
    ];
    for (command, expected) in clients {
        for told in [true, false] {
            let output = run(command, home.path(), told, trust.path()).await;
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert_eq!(text.contains(expected), told, "{} told: {told}: {text}", command[0]);
        }
    }
}

#[tokio::test]
async fn a_client_that_read_its_roots_before_a_rotation_works_through_the_overlap() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), year(), year());
    let put = |ca: &Authority| {
        std::fs::write(dir.path().join("ca.crt"), ca.certificate_pem()).unwrap();
        std::fs::write(dir.path().join("ca.key"), ca.private_key_pem()).unwrap();
    };
    put(&old);
    let start = OffsetDateTime::now_utc();
    let source = Source::Files(CaFiles::in_dir(dir.path()));
    let mut keeper = Keeper::start(source, Duration::DAY, None, Arc::default(), start).unwrap();
    let cache = LeafCache::new(keeper.signing(), 16).unwrap();
    let client = Arc::new(client(&old, &[&TLS13]));
    put(&new);
    for (after, is_reached) in [(Duration::ZERO, true), (Duration::hours(23), true), (Duration::DAY, false)] {
        keeper.poll(start + after);
        // A host that nobody asked for before, so that its leaf is made by whoever signs then.
        let name = format!("h{}.test", after.whole_hours());
        let config = cache.server_config_at(&host(&name), start).unwrap();
        assert_eq!(connect(config, &client, &name).await.1.is_ok(), is_reached, "{after}");
    }
}

#[tokio::test]
async fn a_leaf_of_an_intermediate_is_sent_with_it_and_without_the_root() {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let params = |name: &str, constraint| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(constraint);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        params.use_authority_key_identifier_extension = true;
        params
    };
    let root_params = params("root", rcgen::BasicConstraints::Unconstrained);
    let root = root_params.self_signed(&root_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&root_params, &root_key);
    let own = params("intermediate", rcgen::BasicConstraints::Constrained(0)).signed_by(&key, &issuer).unwrap();
    let chain = own.pem() + &root.pem();
    let authority = Arc::new(Authority::from_pem(&chain, &key.serialize_pem()).unwrap());

    let (cache, _signing) = cache(&authority, 16);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), root.pem()).unwrap();
    let address = serve(cache.server_config(&host("a.test")).unwrap()).await.to_string();
    let args = ["s_client", "-connect", &address, "-x509_strict", "-verify_return_error", "-showcerts", "-CAfile"];
    let mut command = Command::new("openssl");
    command.args(args).arg(file.path()).args(["-verify_hostname", "a.test"]).stdin(std::process::Stdio::null());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("BEGIN CERTIFICATE").count(), 2);
    let trusted = Authorities::new(authority, Duration::DAY).trusted();
    assert!(trusted.contains(root.der()), "clients are told of the root");
}
