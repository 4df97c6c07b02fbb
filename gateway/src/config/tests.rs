#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::time::Duration;

use dormouse_spec::EndpointDefaults;

use super::{file::ConfigFile, *};

const SHIPPED: &str = include_str!("../../../configs/dormouse.toml");

/// In the shipped file prose begins with "# " and a setting with "#" alone.
fn uncommented() -> String {
    let setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    SHIPPED.lines().map(|line| if setting(line) { &line[1..] } else { line }).collect::<Vec<_>>().join("\n")
}

fn fault(text: &str) -> String {
    ConfigFile::parse(text).unwrap_err().in_file(Path::new("dormouse.toml")).to_string()
}

/// Settings of a machine that has a library, whatever this one has.
fn resolved(text: &str, overrides: &Overrides) -> Result<DaemonSettings, ConfigError> {
    let mut file = ConfigFile::parse(text).unwrap();
    file.sandbox.onnxruntime.0 = vec![std::env::current_exe().unwrap()];
    resolve(file, overrides)
}

#[test]
fn the_shipped_file_changes_nothing_as_it_is_or_uncommented() {
    assert_eq!(ConfigFile::parse(SHIPPED).unwrap(), ConfigFile::default());
    assert_eq!(ConfigFile::parse(&uncommented()).unwrap(), ConfigFile::default());
}

#[test]
fn the_shipped_file_lists_every_setting() {
    let listed: toml::Table = uncommented().parse().unwrap();
    let sections = [
        vec![],
        vec!["node"],
        vec!["gateway"],
        vec!["sandbox"],
        vec!["endpoint"],
        vec!["endpoint", "defaults"],
        vec!["endpoint", "crash_back_off"],
        vec!["endpoint", "logs"],
    ];
    for section in sections {
        let header = if section.is_empty() { String::new() } else { format!("[{}]\n", section.join(".")) };
        let error = toml::from_str::<ConfigFile>(&format!("{header}nothing_like_it = 1")).unwrap_err();
        let known: Vec<&str> = error.message().split('`').skip(1).step_by(2).skip(1).collect();
        assert!(!known.is_empty(), "{error}");
        let table = section.iter().fold(&listed, |table, key| table[*key].as_table().unwrap());
        for key in known {
            assert!(table.contains_key(key), "`{key}` of {section:?} is missing");
        }
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_was_meant() {
    assert_eq!(
        fault("[gateway]\nauth = \"none\"\nlistn = \"127.0.0.1:1\"\n"),
        "dormouse.toml:3: unknown key `listn`: did you mean `listen`?"
    );
    assert_eq!(fault("[gatway]\n"), "dormouse.toml:1: unknown key `gatway`: did you mean `gateway`?");
    assert!(
        fault("[sandbox]\nxyzzyxyzzy = 1")
            .contains("known here are uid_base, uid_count, image_id_base, host_paths, onnxruntime")
    );
}

#[test]
fn a_wrong_value_is_named_with_its_line_and_key_on_one_line() {
    let cases = [
        ("[gateway]\nlisten = 8080", "dormouse.toml:2: `gateway.listen`: "),
        ("\n[gateway]\nbody_bytes_max = \"1\"", "dormouse.toml:3: `gateway.body_bytes_max`: 1 is out of bounds"),
        ("[gateway]\nauth = \"tokens\"", "dormouse.toml:2: `gateway.auth`: unknown variant `tokens`"),
        ("[endpoint.defaults]\ntimeout = \"10\"", "dormouse.toml:2: `endpoint.defaults.timeout`: `10` is not a dura"),
        ("[endpoint.defaults]\nmax_replicas = \"many\"", "dormouse.toml:2: `endpoint.defaults.max_replicas`: "),
        ("[node]\nmemory_budget = \"lots\"", "dormouse.toml:2: `node.memory_budget`: `lots` is not a memory quantity"),
        ("[sandbox]\nonnxruntime = []", "dormouse.toml:2: `sandbox.onnxruntime`: write one path"),
        (
            "[images]\ngc_high_threshold_percent = 101",
            "dormouse.toml:2: `images.gc_high_threshold_percent`: 101 is out",
        ),
        ("[images]\ngc_low_threshold_percent = 0", "dormouse.toml:2: `images.gc_low_threshold_percent`: 0 is out"),
        ("[node\n", "dormouse.toml:1: "),
    ];
    for (text, beginning) in cases {
        let message = fault(text);
        assert!(message.starts_with(beginning), "{message:?} of {text:?}");
        assert!(!message.contains('\n'), "{message:?}");
    }
}

#[test]
fn an_address_off_loopback_needs_the_word() {
    let everywhere = Overrides { listen: Some("0.0.0.0:80".parse().unwrap()), ..Overrides::default() };
    assert!(matches!(resolved("", &everywhere), Err(ConfigError::Exposed(_))));
    let settings = resolved("[gateway]\nauth = \"none\"", &everywhere).unwrap();
    assert_eq!(settings.listen.port(), 80);
    assert!(resolved("[gateway]\nlisten = \"[::1]:0\"", &Overrides::default()).is_ok());
}

#[test]
fn no_listener_for_administration_and_no_token_can_be_configured() {
    let cases = [
        ("[admin]\nlisten = \"127.0.0.1:1\"", "unknown key `admin`"),
        ("[admin]\nauth = \"token\"", "unknown key `admin`"),
        ("[node]\nadmin_listen = \"127.0.0.1:1\"", "unknown key `admin_listen`"),
        ("[gateway]\nadmin = true", "unknown key `admin`"),
        ("[gateway]\nauth = \"token\"", "`gateway.auth`: unknown variant `token`"),
        ("[gateway]\nauth = \"mtls\"", "`gateway.auth`: unknown variant `mtls`"),
        ("[gateway]\ntokens = [\"secret\"]", "unknown key `tokens`"),
        ("[gateway]\ntls_certificate = \"/etc/cert.pem\"", "unknown key `tls_certificate`"),
    ];
    for (text, part) in cases {
        let message = fault(text);
        assert!(message.contains(part), "{message:?} of {text:?}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let cases = [
        ("[sandbox]\nuid_base = 4294967290", "uid_base"),
        ("[endpoint.crash_back_off]\nfirst = \"2m\"", "first is longer than max"),
        ("[endpoint.defaults]\nmin_replicas = 2\nmax_replicas = 1", "can start no replica"),
        ("[endpoint.defaults]\npids = 1", "can start no replica"),
        ("[images]\ngc_low_threshold_percent = 70", "write gc_high_threshold_percent"),
        ("[images]\ngc_high_threshold_percent = 80", "80, is not below gc_high_threshold_percent, 80"),
        ("[images]\ngc_high_threshold_percent = 60\ngc_low_threshold_percent = 70", "70, is not below"),
    ];
    for (text, part) in cases {
        let error = resolved(text, &Overrides::default()).unwrap_err().to_string();
        assert!(error.contains(part), "{error:?} of {text:?}");
    }
}

#[test]
fn images_make_room_where_a_high_threshold_is_written() {
    let gc = |text: &str| resolved(text, &Overrides::default()).unwrap().node.controller().images.gc;
    assert_eq!(gc("[images]\nminimum_gc_age = \"5m\""), None);
    let told = |text: &str| gc(text).map(|gc| (gc.high_percent(), gc.low_percent(), gc.minimum_age().as_secs()));
    assert_eq!(told("[images]\ngc_high_threshold_percent = 85"), Some((85, 80, 120)));
    let all = "[images]\ngc_high_threshold_percent = 60\ngc_low_threshold_percent = 50\nminimum_gc_age = \"0s\"";
    assert_eq!(told(all), Some((60, 50, 0)));
}

#[test]
fn a_missing_library_is_told_with_every_place_that_was_searched() {
    let file = ConfigFile::parse("[sandbox]\nonnxruntime = [\"/nowhere/a.so\", \"b.so\"]").unwrap();
    let error = resolve(file, &Overrides::default()).unwrap_err().to_string();
    assert!(error.contains("/nowhere/a.so, ") && error.contains("/b.so"), "{error}");
}

#[test]
fn what_the_node_gets_survives_its_journey() {
    let text = "[node]\nmemory_budget = \"2Gi\"\n[images]\ngc_high_threshold_percent = 90\n[endpoint.defaults]\nmemory = \"1Gi\"\nfreeze_after = \"1m30s\"";
    let settings = resolved(text, &Overrides { run: Some("/tmp/run".into()), ..Overrides::default() }).unwrap();
    let json = serde_json::to_string(&settings.node).unwrap();
    assert_eq!(serde_json::from_str::<NodeSettings>(&json).unwrap(), settings.node);
    assert_eq!(settings.node.run, Path::new("/tmp/run"));
    assert_eq!(settings.node.controller().defaults.freeze_after, Duration::from_secs(90));
    let defaults = resolved("", &Overrides::default()).unwrap().node.endpoint_defaults;
    assert_eq!(defaults, EndpointDefaults::default());
}
