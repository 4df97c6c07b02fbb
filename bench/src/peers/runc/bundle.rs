//! A bundle on disk: `config.json` and a root directory. What is said here is what the sandbox crate says of a replica.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use crate::{
    Failure,
    libraries::{self, Library},
};

const PROGRAM: &str = "/usr/bin/dormouse";
const LIBRARIES: &str = "/usr/lib/dormouse";
const MODEL: &str = "/mnt/models";
const CONTAINER_UID: u32 = 65_532;
/// Host ids that no account has: of the container's root, which sets it up, and of the payload.
const SETUP_UID: u32 = 1_879_113_700;
const PAYLOAD_UID: u32 = SETUP_UID + 1;
/// Limits of the other side's replica.
const MEMORY_BYTES: u64 = 64 << 20;
const PROCESSES: u64 = 32;
const CPU_PERIOD_US: u64 = 100_000;
const CPU_QUOTA_US: u64 = 50_000;
/// What runc itself still does once the filter is loaded, beyond the worker's list: it looks for descriptors to close,
/// its threads wait and are woken, and it becomes the payload.
const OF_RUNC: [&str; 9] =
    ["fstatfs", "getdents64", "fcntl", "futex", "execve", "madvise", "nanosleep", "rt_sigreturn", "epoll_pwait"];
/// null, zero, full, random, urandom.
const DEVICES: [(u32, u32); 5] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)];

pub(super) fn write(bundle: &Path, payload: &Path, system_calls: &Path) -> Result<(), Failure> {
    root_directory(&bundle.join("root"), payload)?;
    let model = bundle.join("model");
    fs::create_dir(&model)?;
    fs::write(model.join("model.onnx"), b"weights")?;
    let list: Value = serde_json::from_slice(&fs::read(system_calls)?)?;
    let spec = spec(&bundle.join("root"), &model, &seccomp(&list)?);
    Ok(fs::write(bundle.join("config.json"), serde_json::to_vec(&spec)?)?)
}

fn root_directory(root: &Path, payload: &Path) -> Result<(), Failure> {
    for directory in ["proc", "dev", "tmp", "sys", "mnt/models", "usr/bin", "usr/lib/dormouse"] {
        fs::create_dir_all(root.join(directory))?;
    }
    let place = |file: &Path, inside: &Path| -> Result<(), Failure> {
        let to = root.join(inside.strip_prefix("/").unwrap_or(inside));
        fs::create_dir_all(to.parent().unwrap_or(root))?;
        fs::copy(file, &to)?;
        Ok(fs::set_permissions(&to, fs::Permissions::from_mode(0o555))?)
    };
    place(payload, Path::new(PROGRAM))?;
    for Library { name, path } in libraries::of(payload)? {
        match name {
            None => place(&path, &path)?,
            Some(name) => place(&path, &Path::new(LIBRARIES).join(name))?,
        }
    }
    Ok(())
}

fn spec(root: &Path, model: &Path, seccomp: &Value) -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let namespaces = ["user", "mount", "pid", "network", "ipc", "uts", "cgroup"].map(|kind| json!({ "type": kind }));
    let ids = [
        json!({ "containerID": 0, "hostID": SETUP_UID, "size": 1 }),
        json!({ "containerID": CONTAINER_UID, "hostID": PAYLOAD_UID, "size": 1 }),
    ];
    let limit = |kind: &str, value: u64| json!({ "type": kind, "hard": value, "soft": value });
    let device = |(major, minor): (u32, u32)| json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rw" });
    let devices: Vec<Value> =
        std::iter::once(json!({ "allow": false, "access": "rwm" })).chain(DEVICES.map(device)).collect();
    let kinds = ["bounding", "effective", "inheritable", "permitted", "ambient"];
    let capabilities: serde_json::Map<String, Value> =
        kinds.map(|kind| (kind.to_owned(), json!([]))).into_iter().collect();
    json!({
        "ociVersion": "1.0.2",
        "hostname": "dormouse",
        "root": { "path": root, "readonly": true },
        "mounts": [
            mount("/proc", "proc", "proc", &["ro", "nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", "mode=755", "size=64k"]),
            mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec", "mode=1777", "size=1048576"]),
            mount(MODEL, "bind", &model.display().to_string(), &["bind", "ro", "nosuid", "nodev", "noexec"]),
        ],
        "process": {
            "terminal": false, "cwd": "/", "user": { "uid": CONTAINER_UID, "gid": CONTAINER_UID, "umask": 0o077 },
            "args": [PROGRAM, "worker"],
            "env": ["PATH=/usr/bin", "HOME=/tmp", format!("LD_LIBRARY_PATH={LIBRARIES}"), "ORT_DISABLE_TELEMETRY=1"],
            "capabilities": capabilities, "noNewPrivileges": true, "oomScoreAdj": 600,
            "rlimits": [limit("RLIMIT_NOFILE", 4_096), limit("RLIMIT_CORE", 1), limit("RLIMIT_MEMLOCK", 64 << 10)],
        },
        "linux": {
            "namespaces": namespaces, "uidMappings": ids, "gidMappings": ids, "rootfsPropagation": "private",
            "cgroupsPath": format!("/dormouse-bench-{}", std::process::id()),
            "resources": {
                "memory": { "limit": MEMORY_BYTES }, "pids": { "limit": PROCESSES }, "devices": devices,
                "cpu": { "quota": CPU_QUOTA_US, "period": CPU_PERIOD_US },
            },
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sysrq-trigger", "/proc/kmsg"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
            "seccomp": seccomp,
        },
    })
}

/// The worker's list of system calls as an OCI profile.
fn seccomp(list: &Value) -> Result<Value, Failure> {
    let native =
        if cfg!(target_arch = "aarch64") { ("arm64", "SCMP_ARCH_AARCH64") } else { ("x86-64", "SCMP_ARCH_X86_64") };
    let entries = |key: &str| list[key].as_array().cloned().unwrap_or_default();
    let mut rules = Vec::new();
    for call in entries("allowed") {
        if call["only"].as_str().is_some_and(|only| only != native.0) {
            continue;
        }
        let allow =
            |arguments: Vec<Value>| json!({ "names": [call["name"]], "action": "SCMP_ACT_ALLOW", "args": arguments });
        match call["when"].as_array() {
            None => rules.push(allow(Vec::new())),
            Some(alternatives) => {
                for alternative in alternatives {
                    let all = alternative["all"].as_array().cloned().unwrap_or_default();
                    rules.push(allow(all.iter().map(condition).collect::<Result<_, _>>()?));
                }
            }
        }
    }
    rules.push(json!({ "names": OF_RUNC, "action": "SCMP_ACT_ALLOW" }));
    rules.extend(
        entries("killed").iter().map(|killed| json!({ "names": killed["names"], "action": "SCMP_ACT_KILL_PROCESS" })),
    );
    let errno = &list["default_errno"];
    Ok(
        json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno, "architectures": [native.1], "syscalls": rules }),
    )
}

/// An argument, masked, equals a value. OCI has the mask first.
fn condition(condition: &Value) -> Result<Value, Failure> {
    let number = |key: &str| -> Result<u64, Failure> {
        let text = condition[key].as_str().and_then(|text| text.strip_prefix("0x"));
        let text = text.ok_or_else(|| format!("`{key}` of a condition is no hexadecimal number: {condition}"))?;
        Ok(u64::from_str_radix(text, 16)?)
    };
    Ok(
        json!({ "index": condition["argument"], "value": number("mask")?, "valueTwo": number("equals")?, "op": "SCMP_CMP_MASKED_EQ" }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alternative_of_a_call_is_a_rule() {
        let list = json!({
            "default_errno": 38,
            "allowed": [
                { "name": "read" },
                { "name": "ioctl", "when": [{ "all": [{ "argument": 1, "mask": "0xff", "equals": "0x21" }] }, { "all": [] }] },
                { "name": "nowhere", "only": "another architecture" },
            ],
            "killed": [{ "names": ["ptrace"] }],
        });
        let profile = seccomp(&list).unwrap_or_default();
        let rules = profile["syscalls"].as_array().cloned().unwrap_or_default();
        assert_eq!(rules.len(), 5);
        let masked = json!({ "index": 1, "value": 0xff, "valueTwo": 0x21, "op": "SCMP_CMP_MASKED_EQ" });
        assert_eq!((&rules[1]["args"][0], &rules[4]["action"]), (&masked, &json!("SCMP_ACT_KILL_PROCESS")));
    }
}
