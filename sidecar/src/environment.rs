//! The environment of a program that uses `serve`, as lines for a shell and as a page of docs/. Which variables there
//! are is the contract's; nothing here has a list of its own.

mod document;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use sandgate_contract::environment::REMOVED;
use sandgate_contract::{environment, merge};

pub use document::markdown;

use crate::settings::listener;
use crate::trust;

/// Parses where clients find the proxy.
///
/// # Errors
/// What was expected: an address on which a proxy listens may be one that nobody can connect to.
pub fn proxy_address(text: &str) -> Result<SocketAddr, String> {
    let address = listener(text)?;
    if address.port() == 0 || address.ip().is_unspecified() {
        let example = "such as 127.0.0.1:8080";
        return Err(format!(
            "{address} is no address that a client can connect to; write one with its port, {example}"
        ));
    }
    Ok(address)
}

/// Lines for a POSIX shell, `export NAME='value'` and `unset NAME`, that send what the shell starts to `proxy`, with the trust files in
/// `trust_dir`. Lists that `existing` has are kept, with ours behind them.
///
/// # Errors
/// Where the directory has a name that some client's settings cannot say.
pub fn exports(proxy: SocketAddr, trust_dir: &Path, existing: &[(OsString, OsString)]) -> Result<String, String> {
    let trust_dir = std::path::absolute(trust_dir).map_err(|error| error.to_string())?;
    let trust_dir = trust::usable_path(&trust_dir).map_err(|error| error.to_string())?;
    let existing = |name| existing.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.to_str());
    let line = |(variable, value): (&sandgate_contract::Variable, String)| {
        let value = merge(existing(variable.name), variable, &value);
        format!("export {}='{}'\n", variable.name, value.replace('\'', r"'\''"))
    };
    let unset = REMOVED.map(|name| format!("unset {name}\n"));
    Ok(environment(proxy, trust_dir, &[]).into_iter().map(line).chain(unset).collect())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn in_a_shell(existing: &[(&str, &str)], script: &str) -> String {
        let known: Vec<_> = existing.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let lines = exports(([127, 0, 0, 1], 3128).into(), Path::new("/run/trust"), &known).unwrap();
        let output = Command::new("sh").args(["-c", &format!("{lines}{script}")]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_shell_takes_every_variable_of_the_contract() {
        for (variable, value) in environment(([127, 0, 0, 1], 3128).into(), "/run/trust", &[]) {
            assert_eq!(in_a_shell(&[], &format!("printenv {}", variable.name)), format!("{value}\n"));
        }
    }

    #[test]
    fn another_proxy_for_everything_else_is_forgotten() {
        let before = "ALL_PROXY=socks5://me:secret@a.test; export ALL_PROXY\n";
        let lines = exports(([127, 0, 0, 1], 3128).into(), Path::new("/run/trust"), &[]).unwrap();
        let output = Command::new("sh").args(["-c", &format!("{before}{lines}printenv ALL_PROXY")]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }

    #[test]
    fn what_the_shell_has_in_lists_stays_and_cannot_break_out_of_its_quotes() {
        let hostile = "-Da='; echo broken; '";
        let said = in_a_shell(&[("JAVA_TOOL_OPTIONS", hostile)], "printenv JAVA_TOOL_OPTIONS");
        assert!(
            said.starts_with(&format!("{hostile} -Dhttp.proxyHost=127.0.0.1 ")) && said.lines().count() == 1,
            "{said}"
        );
    }

    #[test]
    fn a_directory_that_clients_cannot_name_is_refused() {
        let error = exports(([127, 0, 0, 1], 3128).into(), Path::new("/run/my trust"), &[]).unwrap_err();
        assert!(error.contains("/run/my trust"), "{error}");
    }
}
