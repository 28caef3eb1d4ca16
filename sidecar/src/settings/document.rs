//! The reference of all settings as Markdown, made from the table so that it cannot differ from the program.

use std::fmt::Write;

use super::{Kind, Setting, TABLE};

const HEAD: &str = "\
# Settings

<!-- Made from the table in sidecar/src/settings.rs. After a change there: UPDATE_DOCS=1 cargo test --test settings -->

`sandgate-sidecar serve` and `sandgate-sidecar run` take these. A setting comes from its flag, else from its variable,
else from the file that `--config FILE` or `SANDGATE_CONFIG` names, else from its default. `--no-env` ignores all
variables. An empty variable counts as not set.

- The file is a flat YAML map. Its keys are the flags without the dashes in front: `idle-body-timeout: 10m`. An unknown
  key is an error; an unknown `SANDGATE_*` variable is a warning.
- Where several values are possible, a flag is repeated, a file has a list, and a text has commas: `10.0.0.2,10.0.0.3`.
- Times have a unit: `500ms`, `10s`, `15m`, `24h`. Sizes too: `32KiB`, `1MiB`.
- All that is wrong is reported at once, and the exit code is 64.
- `run` has defaults of its own: it listens on a free loopback port, has no health port, makes a CA for the run, writes
  audit lines only to a file, logs warnings as text, and goes through its user's proxy
  ([upstream-proxy.md](upstream-proxy.md)).
";

/// The reference as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let mut group = "";
    for setting in TABLE {
        if setting.group != group {
            group = setting.group;
            let _ = write!(page, "\n## {group}\n\n| flag | variable | default | what and why |\n|---|---|---|---|\n");
        }
        let _ = writeln!(page, "{}", table_row(setting));
    }
    page
}

fn table_row(setting: &Setting) -> String {
    let value = match setting.kind {
        Kind::Switch => format!("[={}]", setting.placeholder),
        _ => format!(" {}", setting.placeholder),
    };
    let default = match setting.default {
        "" => "none".to_owned(),
        text => format!("`{text}`"),
    };
    let repeat = if setting.kind == Kind::Many { ", more than once" } else { "" };
    let cells = [
        format!("`--{}{}`{repeat}", setting.name, value.replace('|', "\\|")),
        format!("`{}`", setting.variable()),
        default,
        setting.help.to_owned(),
    ];
    format!("| {} |", cells.join(" | "))
}
