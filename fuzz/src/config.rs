//! The configuration file.

use dormouse_gateway::config::{self, DaemonSettings, NodeSettings, Overrides};
use dormouse_spec::{Bytes, EndpointName, EndpointRequest};

/// A configuration that is accepted has every setting within its bounds, exposes nothing that it does
/// not say it exposes, can start an endpoint, and reaches the node process as it is.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(DaemonSettings { listen, node, .. }) = config::parse(text, &Overrides::default()) else { return };
    assert!(listen.ip().is_loopback() || says_no_auth(text), "{listen} is not on loopback");
    let gateway = &node.gateway;
    assert!((1 << 10..=4 << 30).contains(&gateway.body_bytes_max));
    assert!((8 << 10..=1 << 20).contains(&gateway.head_bytes_max));
    assert!(gateway.connections_max >= 1 && gateway.streams_per_connection_max >= 1);
    assert!(node.uid_base >= 1 << 16 && node.uid_base.checked_add(node.uid_count).is_some());
    assert!(node.crash_back_off_first <= node.crash_back_off_max);
    let any: EndpointName = "any".parse().expect("a name");
    EndpointRequest::named(any)
        .resolve(&node.endpoint_defaults, Bytes::default(), node.cpus)
        .expect("the defaults describe an endpoint");
    let written = serde_json::to_string(&node).expect("settings can be written");
    assert_eq!(serde_json::from_str::<NodeSettings>(&written).expect("and read"), node, "{written}");
}

fn says_no_auth(text: &str) -> bool {
    let table: toml::Table = text.parse().expect("it was accepted");
    table.get("gateway").and_then(|gateway| gateway.get("auth")).and_then(toml::Value::as_str) == Some("none")
}
