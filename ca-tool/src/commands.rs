//! What each command does, and what it says of it. Never prints a private key but as the Secret that was asked for.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use sandgate_ca::directory::{PRIVATE_MODE, PUBLIC_MODE};
use sandgate_ca::files::{self, Overwrite};
use sandgate_ca::inspect::Findings;
use sandgate_ca::manifest::{self, ObjectNames};
use sandgate_ca::rotate::{Changes, successor};
use sandgate_ca::{
    Authority, AuthorityError, CaDirectory, DirectoryError, KeyType, NameConstraints, Profile, date,
    inspect as inspection,
};
use sandgate_contract::{CA_BUNDLE_FILE, CA_CERT_FILE, CA_KEY_FILE, CA_PREVIOUS_FILE};
use time::Duration;

use crate::cli::{GenerateArgs, InspectArgs, IssueArgs, KeyTypeArg, RotateArgs, SecretArgs};

/// An argument that is wrong in a way that only a command can tell.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(String);

/// `generate`.
pub(crate) fn generate(args: &GenerateArgs, out: &mut impl Write) -> Result<()> {
    let profile = Profile {
        common_name: args.subject.clone(),
        organization: args.organization.clone(),
        lifetime: Duration::days(args.days.into()),
        key_type: args.key_type.into(),
        constraints: constraints(&args.permit)?,
    };
    let directory = CaDirectory::open(&args.out)?;
    let overwrite = if args.force { Overwrite::Replace } else { Overwrite::Refuse };
    let replaced = args.force && directory.file(CA_CERT_FILE).exists();
    let authority = make(&profile)?;
    directory.write(&authority, overwrite).map_err(|error| or_rotate(error, &args.out))?;

    writeln!(out, "Made a CA.")?;
    describe(out, &authority, &directory)?;
    if replaced {
        writeln!(out, "The CA that was there is gone. Whoever trusts it has to be given the new one.")?;
    }
    let dir = args.out.display();
    writeln!(out, "\nNext:")?;
    writeln!(out, "  into a cluster    sandgate-ca secret --dir {dir} | kubectl apply -f -")?;
    writeln!(out, "  look at it        sandgate-ca inspect --dir {dir}")?;
    writeln!(out, "  before it ends    sandgate-ca rotate --dir {dir}")?;
    writeln!(out, "Keep {CA_KEY_FILE} to yourself: who has it can pose as any site to whoever trusts the CA.")?;
    Ok(())
}

/// `secret`.
pub(crate) fn secret(args: &SecretArgs, out: &mut impl Write) -> Result<()> {
    let names = ObjectNames::new(&args.name, args.namespace.as_deref()).map_err(|error| Usage(error.to_string()))?;
    let directory = CaDirectory::open(&args.dir)?;
    let authority = read(&directory, &args.dir)?;
    // A rotation that was cut off leaves the CA itself as the previous one.
    let previous = directory.previous()?.filter(|previous| *previous != authority.certificate_pem());
    out.write_all(manifest::yaml(&authority, previous.as_deref(), &names).as_bytes())?;
    if std::io::stdout().is_terminal() {
        eprintln!("The Secret above has the private key in it. Pipe it: sandgate-ca secret … | kubectl apply -f -");
    }
    Ok(())
}

/// `rotate`.
pub(crate) fn rotate(args: RotateArgs, out: &mut impl Write) -> Result<()> {
    let changes = Changes {
        common_name: args.subject,
        organization: args.organization,
        lifetime: args.days.map(|days| Duration::days(days.into())),
        key_type: args.key_type.map(KeyType::from),
        constraints: constraints(&args.permit)?,
    };
    let directory = CaDirectory::open(&args.dir)?;
    let old = read(&directory, &args.dir)?;
    let new = make(&successor(&old, changes)?)?;
    let before_that = directory.previous().ok().flatten();
    directory.rotate(&old, &new)?;

    writeln!(out, "Made the successor of the CA.")?;
    describe(out, &new, &directory)?;
    writeln!(out, "  the one before  {}", directory.file(CA_PREVIOUS_FILE).display())?;
    writeln!(out, "    valid until   {}", date::text(&old.not_after()))?;
    writeln!(out, "    SHA-256       {}", old.fingerprint_sha256())?;
    writeln!(out, "  trusts both     {}", directory.file(CA_BUNDLE_FILE).display())?;
    if before_that.is_some() {
        writeln!(out, "The CA of the rotation before this one is no longer in the bundle.")?;
    }
    writeln!(out, "\nNext:")?;
    writeln!(out, "  into a cluster  sandgate-ca secret --dir {} | kubectl apply -f -", args.dir.display())?;
    writeln!(out, "  elsewhere       give {CA_BUNDLE_FILE} to whoever trusted {CA_CERT_FILE}")?;
    writeln!(
        out,
        "The old key is gone from the directory. Running sidecars sign with it until their overlap is over."
    )?;
    Ok(())
}

/// `inspect`.
pub(crate) fn inspect(args: &InspectArgs, out: &mut impl Write) -> Result<()> {
    let findings = match &args.file {
        Some(file) if !file.is_dir() => inspection::file(file)?,
        directory => {
            let path = directory.as_ref().unwrap_or(&args.dir);
            inspection::directory(&CaDirectory::open(path)?).map_err(|error| with_hint(error.into(), path))?
        }
    };
    let Findings { text, problems, warnings } = findings;
    out.write_all(text.as_bytes())?;
    for warning in warnings {
        writeln!(out, "warning:     {warning}")?;
    }
    if problems.is_empty() { Ok(()) } else { bail!("{}", problems.join("\nsandgate-ca: ")) }
}

/// `issue`.
pub(crate) fn issue(args: &IssueArgs, out: &mut impl Write) -> Result<()> {
    let directory = CaDirectory::open(&args.dir)?;
    let authority = read(&directory, &args.dir)?;
    let leaf = sandgate_ca::issue::leaf(&authority, &args.name, Duration::days(args.days.into()))?;
    fs::create_dir_all(&args.out).with_context(|| format!("can't create {}", args.out.display()))?;
    let stem = args.name.file_stem();
    let (certificate, key) = (args.out.join(format!("{stem}.crt")), args.out.join(format!("{stem}.key")));
    let overwrite = if args.force { Overwrite::Replace } else { Overwrite::Refuse };
    // Both names are looked at before the first is written, so that a refusal leaves no half of a pair.
    if let Some(taken) = [&key, &certificate].into_iter().find(|path| !args.force && path.symlink_metadata().is_ok()) {
        return Err(files::FileError::Exists(taken.clone()).into());
    }
    files::write_whole(&key, leaf.key.as_bytes(), PRIVATE_MODE, overwrite)?;
    files::write_whole(&certificate, leaf.certificates.as_bytes(), PUBLIC_MODE, overwrite)?;

    writeln!(out, "Signed a certificate for {}.", args.name.san())?;
    writeln!(out, "  certificate     {}", certificate.display())?;
    writeln!(out, "  private key     {}", key.display())?;
    writeln!(out, "  valid until     {}", date::text(&leaf.not_after))?;
    let ca = directory.file(CA_CERT_FILE);
    writeln!(out, "\nNext:")?;
    writeln!(out, "  check it        openssl verify -x509_strict -CAfile {} {}", ca.display(), certificate.display())?;
    Ok(())
}

fn describe(out: &mut impl Write, authority: &Authority, directory: &CaDirectory) -> Result<()> {
    writeln!(out, "  subject         {}", authority.subject())?;
    writeln!(out, "  certificate     {}", directory.file(CA_CERT_FILE).display())?;
    writeln!(out, "  private key     {} (mode 0600)", directory.file(CA_KEY_FILE).display())?;
    writeln!(out, "  valid until     {}", date::text(&authority.not_after()))?;
    let permitted = authority.name_constraints().map(|it| it.permitted().collect::<Vec<_>>().join(", "));
    writeln!(out, "  may sign for    {}", permitted.as_deref().unwrap_or("any name"))?;
    writeln!(out, "  SHA-256         {}", authority.fingerprint_sha256())?;
    Ok(())
}

fn constraints(permit: &[String]) -> Result<Option<NameConstraints>> {
    if permit.is_empty() {
        return Ok(None);
    }
    let made = NameConstraints::for_hosts(permit.iter().map(String::as_str));
    made.map(Some).map_err(|error| anyhow!(Usage(format!("--permit: {error}"))))
}

/// A new CA; what the profile has wrong came from the command line.
fn make(profile: &Profile) -> Result<Authority> {
    Authority::generate(profile).map_err(|error| match error {
        AuthorityError::BadSubject { .. } | AuthorityError::Lifetime => anyhow!(Usage(error.to_string())),
        other => other.into(),
    })
}

fn read(directory: &CaDirectory, path: &Path) -> Result<Authority> {
    directory.read().map_err(|error| with_hint(error, path))
}

/// The error, and if there is no CA, how to get one.
fn with_hint(error: DirectoryError, path: &Path) -> anyhow::Error {
    let absent = error.is_absent();
    let error = anyhow::Error::from(error);
    let path = path.display();
    let hint = || format!("no CA in {path}; make one with `sandgate-ca generate --out {path}`");
    if absent { error.context(hint()) } else { error }
}

/// The error, and if there is a CA already, how to follow it without breaking who trusts it.
fn or_rotate(error: DirectoryError, path: &Path) -> anyhow::Error {
    match error {
        DirectoryError::File(error @ files::FileError::Exists(_)) => {
            let path = path.display();
            anyhow!(
                "{error}; `sandgate-ca rotate --dir {path}` makes a successor and keeps the old CA trusted for a while"
            )
        }
        error => error.into(),
    }
}

impl From<KeyTypeArg> for KeyType {
    fn from(arg: KeyTypeArg) -> Self {
        match arg {
            KeyTypeArg::P256 => Self::P256,
            KeyTypeArg::P384 => Self::P384,
            KeyTypeArg::Rsa4096 => Self::Rsa4096,
        }
    }
}
