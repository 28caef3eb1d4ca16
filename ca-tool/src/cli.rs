//! The command line of `sandgate-ca`: arguments and help, and nothing that acts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sandgate_ca::issue::LeafName;
use sandgate_contract::CA_SECRET_NAME;

const EXAMPLES: &str = "\
Examples:
  $ sandgate-ca generate --out ca
      Make a CA: ca/ca.crt and ca/ca.key, valid for 10 years.

  $ sandgate-ca secret --dir ca --namespace sandboxes | kubectl apply -f -
      Put it into a cluster: a Secret for the sidecar, a ConfigMap with the public half.

  $ sandgate-ca inspect --dir ca
      Show what it is, how long it lasts, and whether key and certificate belong together.

  $ sandgate-ca rotate --dir ca
      Make its successor, and a bundle that trusts both.

Every command has a --help with more examples.
Exit codes: 0 done, 1 failed or something is wrong with the CA, 64 wrong usage.";

/// Makes and looks after the CA with which Sandgate reads its sandboxes' TLS.
#[derive(Debug, Parser)]
#[command(name = "sandgate-ca", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new CA: ca.crt and ca.key
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(GenerateArgs),
    /// Print a CA as YAML for `kubectl apply -f -`: a Secret, and a ConfigMap with the public half
    #[command(after_help = SECRET_EXAMPLES)]
    Secret(SecretArgs),
    /// Make a CA's successor beside it, and a bundle that trusts both
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate(RotateArgs),
    /// Show what a CA is, and what is wrong with it
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Sign a certificate for one name with a new key, for debugging
    #[command(after_help = ISSUE_EXAMPLES)]
    Issue(IssueArgs),
}

const GENERATE_EXAMPLES: &str = "\
Examples:
  $ sandgate-ca generate
      ca.crt and ca.key in the current directory.

  $ sandgate-ca generate --out ca --subject 'Sandboxes of team A' --organization Example --days 365
      In the directory ca, with a name that people recognise, for a year.

  $ sandgate-ca generate --out ca --permit api.github.com --permit '*.example.com'
      A CA whose certificates clients accept only for these names and those below them.

  $ sandgate-ca generate --out ca --force
      Throw away the CA that is there. Whoever trusts it does not trust the new one: see rotate.";

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The directory for ca.crt and ca.key; made if it is not there
    #[arg(long, alias = "dir", value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// The CA's name: the common name of its subject
    #[arg(long, value_name = "NAME", default_value = "Sandgate CA")]
    pub(crate) subject: String,
    /// The organization of its subject
    #[arg(long, value_name = "NAME")]
    pub(crate) organization: Option<String>,
    /// How many days it is valid
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = days())]
    pub(crate) days: u32,
    /// The type of its key
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = KeyTypeArg::P256)]
    pub(crate) key_type: KeyTypeArg,
    /// A host (a.example, *.a.example, 192.0.2.1) that it may sign for; without any, it may sign for all
    #[arg(long, value_name = "HOST")]
    pub(crate) permit: Vec<String>,
    /// Overwrite a CA that is there
    #[arg(long)]
    pub(crate) force: bool,
}

const SECRET_EXAMPLES: &str = "\
Examples:
  $ sandgate-ca secret --dir ca --namespace sandboxes | kubectl apply -f -

  $ sandgate-ca secret --dir ca | kubectl apply --namespace sandboxes -f -

The output has the private key in it: pipe it, and keep it out of files and repositories.";

#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    /// The directory with ca.crt and ca.key
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The namespace to write into the objects; without it, kubectl's
    #[arg(long, short, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// The name of the Secret; the ConfigMap's is NAME-bundle
    #[arg(long, value_name = "NAME", default_value = CA_SECRET_NAME)]
    pub(crate) name: String,
}

const ROTATE_EXAMPLES: &str = "\
Examples:
  $ sandgate-ca rotate --dir ca
      A new CA with the name, key type, constraints and lifetime of the old one.

  $ sandgate-ca rotate --dir ca --days 365 --permit api.github.com
      The same, but for a year and for one host.

The old certificate is kept as previous.crt. The old key is not: a running sidecar still has it in memory and signs
with it until its overlap is over; one that starts afterwards signs with the new key, and trusts both.";

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The directory with ca.crt and ca.key
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The new CA's name, if it is to be another
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
    /// The organization of its subject, if it is to be another
    #[arg(long, value_name = "NAME")]
    pub(crate) organization: Option<String>,
    /// How many days it is valid, if not as long as the old one
    #[arg(long, value_name = "N", value_parser = days())]
    pub(crate) days: Option<u32>,
    /// The type of its key, if it is to be another
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(crate) key_type: Option<KeyTypeArg>,
    /// A host that it may sign for, in place of the old CA's list
    #[arg(long, value_name = "HOST")]
    pub(crate) permit: Vec<String>,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  $ sandgate-ca inspect --dir ca
      The CA in a directory, its key, and the one before it.

  $ sandgate-ca inspect bundle.crt
      Every certificate of one file.

Exits with 1 when something is wrong.";

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The directory with ca.crt and ca.key
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with = "file")]
    pub(crate) dir: PathBuf,
    /// A file with certificates, in place of a directory
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

const ISSUE_EXAMPLES: &str = "\
Examples:
  $ sandgate-ca issue --dir ca api.example.com
      api.example.com.crt and api.example.com.key in the current directory, for a week.

  $ sandgate-ca issue --dir ca 192.0.2.1 --out /tmp --days 1";

#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// The DNS name or IP address that the certificate is for
    #[arg(value_name = "NAME")]
    pub(crate) name: LeafName,
    /// The directory with ca.crt and ca.key
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The directory for NAME.crt and NAME.key
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// How many days it is valid; never longer than the CA
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = days())]
    pub(crate) days: u32,
    /// Overwrite files that are there
    #[arg(long)]
    pub(crate) force: bool,
}

/// The types of key by the names that the command line has for them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KeyTypeArg {
    /// ECDSA on P-256
    P256,
    /// ECDSA on P-384
    P384,
    /// RSA of 4096 bits
    Rsa4096,
}

/// From one day to a hundred years.
fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}
