//! The reference of the configuration as Markdown, made from the table so that it cannot differ from the program.

use std::fmt::Write;

use serde_json::Value;

use super::table::{Row, SECTIONS};
use super::{Config, EXAMPLE};

const HEAD: &str = "\
# The webhook's configuration

<!-- Made from the table in webhook/src/config/table.rs. After a change there:
     UPDATE_DOCS=1 cargo test -p sandgate-webhook --test configuration -->

`sandgate-webhook serve --config FILE` reads one YAML file, in the cluster the key `config.yaml` of ConfigMap
`sandgate-webhook-config`. Every setting has a default, so an empty file serves.

- `sandgate-webhook validate-config FILE` says everything that is wrong with a file, or with the `config.yaml` in a
  manifest of that ConfigMap, with line and key, before it is
  applied. Unknown keys, values of a wrong type, keys that stand twice, anchors and tags are errors.
- The file is read again whenever its content changes (in a cluster about a minute after the ConfigMap, which is the
  kubelet's time). A valid one is put in force as a whole. A broken one, or none, changes nothing: the last good one
  stays, the log names every problem, and `sandgate_webhook_configuration_reload_failures_total` counts it. At start a
  broken file ends the program with exit code 64.
- The first twelve digits of the SHA-256 of all settings that pods depend on are the configuration's hash: in the log,
  in `validate-config`, and in the annotation `sandgate.dev/status` of pods.
- Times have a unit: `500ms`, `10s`, `15m`, `24h`. Sizes too: `8MiB`. Quantities are Kubernetes': `100m`, `64Mi`.

Keys with dots are nested in the file:

```yaml
";

/// The reference as Markdown.
#[must_use]
pub fn markdown() -> String {
    let defaults = Config::default();
    let mut page = format!("{HEAD}{EXAMPLE}```\n");
    for section in SECTIONS {
        let _ = write!(page, "\n## {}\n\n{}\n\n", section.name, section.about);
        let _ = writeln!(page, "| key | value | default | what and why |\n|---|---|---|---|");
        for row in section.rows {
            let _ = writeln!(page, "{}", table_row(row, &defaults));
        }
    }
    page
}

fn table_row(row: &Row, defaults: &Config) -> String {
    let default = match (row.show)(defaults) {
        Value::String(text) => format!("`{text}`"),
        _ => "none".to_owned(),
    };
    format!("| `{}` | {} | {default} | {} |", row.path, row.placeholder, row.help)
}
