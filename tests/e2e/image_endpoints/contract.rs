//! Knative's runtime contract, point by point, as a container sees it.

use dormouse_tests::{Endpoint, Request, processes};

use super::{ASK, ask, bring, deploy_script, to};
use crate::real;

#[test]
fn a_container_finds_what_the_contract_promises() {
    let daemon = real().start();
    bring(&daemon);
    deploy_script(
        &daemon,
        "hello",
        ASK,
        &[],
        "workingDir: /www\nenv: [{name: A, value: asked}, {name: PORT2, value: $(A)-2}]",
    );
    let holds: [(&str, &str, &str); 23] = [
        ("PORT is set", "echo $PORT", "8080"),
        ("K_SERVICE is set", "echo $K_SERVICE", "hello"),
        ("K_CONFIGURATION is set", "echo $K_CONFIGURATION", "hello"),
        ("K_REVISION is set", "echo $K_REVISION", "hello-00001"),
        ("the image's variables are set", "echo $PATH", "/bin"),
        ("the manifest's variables are set, and may name others", "echo $A $PORT2", "asked asked-2"),
        ("HOME is the one of /etc/passwd", "echo $HOME", "/"),
        ("the host name is the endpoint's", "hostname", "hello"),
        ("localhost is known", "grep -c localhost /etc/hosts", "2"),
        ("the working directory is the one that was asked for", "cat /proc/1/comm /tmp/pwd", "httpd\n/www"),
        ("/tmp can be written", "echo fine >/tmp/x && cat /tmp/x", "fine"),
        ("/var can be written", "mkdir -p /var/log && echo fine >/var/log/x && cat /var/log/x", "fine"),
        ("/dev/shm can be written", "echo fine >/dev/shm/x && cat /dev/shm/x", "fine"),
        ("stdin is empty", "readlink /proc/1/fd/0", "/dev/null"),
        ("stdout can be opened by its name", "echo >/proc/1/fd/1 && echo fine", "fine"),
        ("no process of the host's is seen", "test $(ls -d /proc/[0-9]* | wc -l) -lt 20 && echo fine", "fine"),
        (
            "there is a loopback device and no other",
            "ls /sys/class/net 2>/dev/null || tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '",
            "lo",
        ),
        ("loopback is up", "wget -q -O - http://127.0.0.1:8080/cgi-bin/ask?echo%20fine", "fine"),
        ("devices are there", "head -c 1 /dev/zero | wc -c; ls /dev/null /dev/random /dev/full | wc -l", "1\n3"),
        ("nothing is gained by a set-user-id program", "grep NoNewPrivs /proc/self/status | cut -f2", "1"),
        ("a limit of processes holds", "cat /proc/sys/kernel/pid_max >/dev/null && echo fine", "fine"),
        (
            "its limits can be read",
            "cd /sys/fs/cgroup; cat memory.max pids.max 2>/dev/null || cat memory/memory.limit_in_bytes pids/pids.max",
            "268435456\n512",
        ),
        ("/proc/sys cannot be written", "echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_forward || echo refused", "refused"),
    ];
    let mut broken = String::new();
    for (what, command, expected) in holds {
        let told = ask(&daemon, "hello", command);
        if told.trim_end() != expected {
            broken.push_str(&format!("{what}: `{command}` printed {told:?} and not {expected:?}\n"));
        }
    }
    assert!(broken.is_empty(), "{broken}");
}

#[test]
fn a_request_brings_the_headers_of_the_contract() {
    let daemon = real().start();
    bring(&daemon);
    deploy_script(&daemon, "hello", ASK, &[], "");
    let seen = |request: &Request| daemon.send(request).ok().text();
    let env = || to("hello", "/cgi-bin/ask?env");
    let plain = seen(&env());
    for line in ["HTTP_HOST=hello.example.com", "HTTP_X_FORWARDED_FOR=127.0.0.1", "HTTP_X_FORWARDED_PROTO=http"] {
        assert!(plain.lines().any(|it| it == line), "{line} in {plain}");
    }
    let forwarded = plain.lines().find(|line| line.starts_with("HTTP_FORWARDED=")).unwrap_or_default();
    assert!(forwarded.contains("for=127.0.0.1") && forwarded.contains("proto=http"), "{forwarded}");
    let through_a_proxy = seen(&env().header("forwarded", "for=192.0.2.7"));
    let line = "HTTP_FORWARDED=for=192.0.2.7, for=127.0.0.1;";
    assert!(through_a_proxy.contains(line), "{through_a_proxy}");
}

#[test]
fn who_a_process_is_and_what_it_may_do() {
    let daemon = real().start();
    bring(&daemon);
    let capabilities = "grep -h ^Cap /proc/self/status | cut -f2 | sort -u | tr '\\n' ' '";
    deploy_script(&daemon, "root", ASK, &[], "");
    assert_eq!(ask(&daemon, "root", "id -u; id -g").trim_end(), "0\n0");
    assert_eq!(ask(&daemon, "root", capabilities).trim_end(), "0000000000000000 00000000000005fb");
    assert_eq!(
        ask(&daemon, "root", "touch /tmp/x && chown 1000:1000 /tmp/x && stat -c %u:%g /tmp/x").trim_end(),
        "1000:1000"
    );

    deploy_script(
        &daemon,
        "user",
        ASK,
        &[],
        "securityContext: {runAsUser: 1234, runAsGroup: 5678}\nports: [{containerPort: 80}]",
    );
    assert_eq!(ask(&daemon, "user", "id -u; id -g; echo $PORT").trim_end(), "1234\n5678\n80");
    assert_eq!(ask(&daemon, "user", capabilities).trim_end(), "0000000000000000");

    deploy_script(&daemon, "fixed", ASK, &[], "securityContext: {readOnlyRootFilesystem: true}");
    assert_eq!(
        ask(&daemon, "fixed", "touch /www/x 2>/dev/null || echo refused; touch /tmp/x && echo fine").trim_end(),
        "refused\nfine"
    );

    let uids = ["root", "user"].map(|name| processes::uid(Endpoint::of(&daemon, name).processes()[0]));
    assert_ne!(uids[0] >> 16, uids[1] >> 16, "each endpoint has a range of its own");
    assert_eq!(uids[1] & 0xffff, 1234);
}
