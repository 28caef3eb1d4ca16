//! Tests of the trust files; the readers are the real ones: OpenSSL, Python and a JVM.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

fn ca(name: &str) -> CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.self_signed(&key).unwrap().into()
}

fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    output
}

/// Path to inode, size and mode of everything below `dir`.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (u64, u64, u32)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path, (metadata.ino(), metadata.len(), metadata.mode() & 0o777));
    }
    found
}

#[test]
fn everything_is_readable_by_everyone_and_writable_by_one() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/trust");
    TrustFiles::new(&dir).write(&[ca("one")]).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o755);
    let names: Vec<_> = tree(&dir).keys().map(|path| path.strip_prefix(&dir).unwrap().display().to_string()).collect();
    assert_eq!(names, ["apt.conf", "bundle.crt", "ca.crt", "php", "php/sandgate.ini", "truststore.p12", "wgetrc"]);
    for (path, (_, _, mode)) in tree(&dir) {
        assert_eq!(mode, if path.is_dir() { 0o755 } else { 0o644 }, "{}", path.display());
    }
}

#[test]
fn what_says_the_right_thing_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let files = TrustFiles::new(dir.path());
    let ca = ca("one");
    files.write(std::slice::from_ref(&ca)).unwrap();
    let before = tree(dir.path());
    files.write(&[ca]).unwrap();
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_second_ca_changes_the_certificates_and_not_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let files = TrustFiles::new(dir.path());
    let (one, two) = (ca("one"), ca("two"));
    files.write(std::slice::from_ref(&one)).unwrap();
    let before = tree(dir.path());
    files.write(&[one, two]).unwrap();
    let changed: Vec<_> = tree(dir.path())
        .into_iter()
        .filter(|(path, (inode, _, _))| before[path].0 != *inode)
        .map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(changed, ["bundle.crt", "ca.crt", "truststore.p12"]);
}

#[test]
fn a_missing_store_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let files = TrustFiles::new(dir.path());
    let ca = ca("one");
    files.write(std::slice::from_ref(&ca)).unwrap();
    fs::remove_file(dir.path().join(TRUST_STORE_FILE)).unwrap();
    files.write(&[ca]).unwrap();
    assert!(dir.path().join(TRUST_STORE_FILE).exists());
}

#[test]
fn a_file_left_aside_by_a_killed_process_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("elsewhere");
    fs::write(&target, "untouched").unwrap();
    std::os::unix::fs::symlink(&target, dir.path().join(".ca.crt.new")).unwrap();
    TrustFiles::new(dir.path()).write(&[ca("one")]).unwrap();
    assert_eq!(fs::read_to_string(target).unwrap(), "untouched");
    assert!(!dir.path().join(".ca.crt.new").exists());
    assert!(!fs::symlink_metadata(dir.path().join("ca.crt")).unwrap().is_symlink());
}

#[test]
fn an_error_names_the_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("ca.crt")).unwrap();
    fs::write(dir.path().join("ca.crt/x"), "").unwrap();
    let error = TrustFiles::new(dir.path()).write(&[ca("one")]).unwrap_err().to_string();
    assert!(error.contains(&dir.path().join("ca.crt").display().to_string()), "{error}");
}

#[test]
fn a_path_that_settings_cannot_say_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["/trust files", "/tru\"st", "relative", "/a;b", "/a\nb", "/a:b"] {
        let result = TrustFiles::new(dir.path()).seen_at(path).write(&[ca("one")]);
        assert!(matches!(result, Err(TrustError::UnusablePath { .. })), "{path}");
    }
    assert!(tree(dir.path()).is_empty());
}

#[test]
fn settings_name_the_bundle_where_readers_see_it() {
    let dir = tempfile::tempdir().unwrap();
    TrustFiles::new(dir.path()).seen_at("/etc/proxy-ca").write(&[ca("one")]).unwrap();
    for (name, text) in [
        ("wgetrc", "ca_certificate = /etc/proxy-ca/bundle.crt\n"),
        ("apt.conf", "Acquire::https::CaInfo \"/etc/proxy-ca/bundle.crt\";\n"),
        (
            "php/sandgate.ini",
            "curl.cainfo = \"/etc/proxy-ca/bundle.crt\"\nopenssl.cafile = \"/etc/proxy-ca/bundle.crt\"\n",
        ),
    ] {
        assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), text);
    }
}

#[test]
fn a_reader_finds_the_old_or_the_new_bundle_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (files, path) = (TrustFiles::new(dir.path()), dir.path().join(TRUST_BUNDLE_FILE));
    let sets = [vec![ca("one")], vec![ca("one"), ca("two")]];
    let bundles = sets.each_ref().map(|set| {
        files.write(set).unwrap();
        fs::read(&path).unwrap()
    });
    let (done, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert!(bundles.contains(&fs::read(&path).unwrap()));
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0.. {
            files.write(&sets[round % 2]).unwrap();
            if reader.is_finished() || (round >= 10 && reads.load(Ordering::Relaxed) >= 10) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn apt_reads_the_bundle_from_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    TrustFiles::new(dir.path()).write(&[ca("one")]).unwrap();
    let mut command = Command::new("apt-config");
    command.args(["dump", "Acquire::https::CaInfo"]).env("APT_CONFIG", dir.path().join(APT_CONFIG_FILE));
    let output = command.output().unwrap();
    let expected = format!("Acquire::https::CaInfo \"{}/bundle.crt\";\n", dir.path().display());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn openssl_and_python_read_the_pem_files() {
    let dir = tempfile::tempdir().unwrap();
    TrustFiles::new(dir.path()).write(&[ca("one"), ca("two")]).unwrap();
    let count = "import ssl,sys; c=ssl.create_default_context(cafile=sys.argv[1]); print(len(c.get_ca_certs()))";
    for (name, expected) in [("ca.crt", 2), ("bundle.crt", TLS_SERVER_ROOT_CERTS.len() + 2)] {
        let path = dir.path().join(name).display().to_string();
        let printed = run("python3", &["-c", count, &path]).stdout;
        assert_eq!(String::from_utf8(printed).unwrap().trim(), expected.to_string(), "{name}");
        run("openssl", &["crl2pkcs7", "-nocrl", "-certfile", &path, "-out", "/dev/null"]);
    }
}

#[test]
fn a_jvm_trusts_every_entry_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    TrustFiles::new(dir.path()).write(&[ca("one"), ca("two")]).unwrap();
    let path = dir.path().join(TRUST_STORE_FILE).display().to_string();
    let listing =
        run("keytool", &["-list", "-keystore", &path, "-storetype", "PKCS12", "-storepass", "changeit"]).stdout;
    let listing = String::from_utf8(listing).unwrap();
    assert!(listing.contains("sandgate-ca-1, "), "{listing}");
    assert!(listing.contains("sandgate-ca-2, "), "{listing}");
    assert_eq!(listing.matches("trustedCertEntry").count(), TLS_SERVER_ROOT_CERTS.len() + 2);
}
