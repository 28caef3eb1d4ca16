//! What the command lines have in common: their form, their exit codes, and how an error is put into words. Knows no
//! subcommand.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Command;

/// The exit code of wrong usage (`EX_USAGE` of sysexits.h), a configuration that is broken among it.
pub const WRONG_USAGE: u8 = 64;

const HELP_TEMPLATE: &str = "{about}\n\n{usage-heading} {usage}{after-help}\n\n{all-args}";

/// A program of this version that consists of subcommands.
#[must_use]
pub fn program(name: &'static str, about: &'static str, examples: &'static str) -> Command {
    Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .help_template(HELP_TEMPLATE)
        .after_help(examples)
        .max_term_width(100)
        .subcommand_required(true)
        .disable_help_subcommand(true)
}

/// A subcommand, with its examples before its flags.
#[must_use]
pub fn subcommand(name: &'static str, about: &'static str, examples: &'static str) -> Command {
    Command::new(name).about(about).help_template(HELP_TEMPLATE).after_help(examples)
}

/// A text instead of an action: help, the version, or what is wrong.
#[derive(Debug)]
pub struct Stop {
    /// The whole text, with its last newline.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Stop {
    /// Wrong usage, in the words of `text`.
    #[must_use]
    pub fn wrong(text: String) -> Self {
        Self { text, code: WRONG_USAGE }
    }

    /// Prints the text: on stdout what was asked for, on stderr what is wrong.
    #[must_use]
    pub fn print(&self) -> ExitCode {
        // Where nobody reads the text, the exit code still says it.
        let _ = match self.code {
            0 => write!(io::stdout(), "{}", self.text),
            _ => write!(io::stderr(), "{}", self.text),
        };
        ExitCode::from(self.code)
    }
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        Self { text: error.render().to_string(), code: if error.use_stderr() { WRONG_USAGE } else { 0 } }
    }
}

/// An error and its causes in one sentence, each said once: many messages hold their cause already.
#[must_use]
pub fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text {
        text if text.is_empty() => cause,
        text if text.contains(&cause) => text,
        text => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        let error = anyhow::anyhow!("no such file").context("x.yaml: no such file").context("the policy");
        assert_eq!(in_words(&error), "the policy: x.yaml: no such file");
    }

    #[test]
    fn help_and_version_are_no_failure_and_a_missing_subcommand_is_wrong_usage() {
        for (arguments, code) in [(&["a", "--help"][..], 0), (&["a", "--version"], 0), (&["a"], WRONG_USAGE)] {
            let command = program("a", "about", "examples").subcommand(subcommand("b", "about b", "examples of b"));
            let stop = Stop::from(command.try_get_matches_from(arguments).unwrap_err());
            assert_eq!((stop.code, stop.text.ends_with('\n')), (code, true), "{arguments:?}: {}", stop.text);
        }
    }
}
