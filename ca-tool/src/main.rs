//! The program `sandgate-ca`: arguments to a command, and its outcome to an exit code.

mod cli;
mod commands;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

/// Wrong usage (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
            // Help for a reader that went away is no failure.
            let _ = error.print();
            return code;
        }
    };
    let mut out = io::stdout().lock();
    let outcome = match cli.command {
        Command::Generate(args) => commands::generate(&args, &mut out),
        Command::Secret(args) => commands::secret(&args, &mut out),
        Command::Rotate(args) => commands::rotate(args, &mut out),
        Command::Inspect(args) => commands::inspect(&args, &mut out),
        Command::Issue(args) => commands::issue(&args, &mut out),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandgate-ca: {error:#}");
            let usage = error.downcast_ref::<commands::Usage>().is_some();
            if usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}
