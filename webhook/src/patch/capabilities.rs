//! NET_RAW, which is in the default set of capabilities and sends packets that no proxy sees: dropped in required
//! namespaces. The one field of others that we touch on purpose.

use serde_json::{Value, json};

use super::draft::Draft;
use crate::pod::{self, Container};

/// Drops NET_RAW; false where nothing is to do.
pub(super) fn patch(draft: &mut Draft, container: &Container<'_>) -> bool {
    let pointer = container.pointer();
    let context = container.json.get("securityContext").filter(|context| context.is_object());
    let capabilities = context.and_then(|context| context.get("capabilities")).filter(|held| held.is_object());
    match (context, capabilities) {
        (None, _) => draft.add(format!("{pointer}/securityContext"), json!({"capabilities": {"drop": ["NET_RAW"]}})),
        (_, None) => draft.add(format!("{pointer}/securityContext/capabilities"), json!({"drop": ["NET_RAW"]})),
        (_, Some(capabilities)) => {
            let mut dropped = pod::elements(capabilities, "drop").filter_map(Value::as_str);
            if dropped.any(|name| name == "ALL" || name == "NET_RAW") {
                return false;
            }
            draft.append(
                &format!("{pointer}/securityContext/capabilities"),
                capabilities,
                "drop",
                vec!["NET_RAW".into()],
            );
        }
    }
    true
}
