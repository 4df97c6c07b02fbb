//! System calls of processes of images: what is refused, what is missing, and that programs at large run.

use dormouse_driver::{
    images::{Layout, PORT, get, image, with, with_program},
    layers::Archive,
    script::read_log,
};
use dormouse_sandbox::messages::ExitCause;

use crate::images::Stage;

const LIST: &str = include_str!("../../../../configs/seccomp/image.json");
/// The oldest libseccomp in use does not know these, leaves them out, and they answer as what is in neither list.
const NEWER: [&str; 8] = [
    "cachestat",
    "fchmodat2",
    "futex_wake",
    "futex_wait",
    "futex_requeue",
    "map_shadow_stack",
    "mseal",
    "set_mempolicy_home_node",
];

/// A slip of the pen would be a call that is left out.
pub(crate) fn the_list_names_calls_that_there_are() {
    let list: serde_json::Value = serde_json::from_str(LIST).unwrap();
    let foreign = if cfg!(target_arch = "aarch64") { "x86-64" } else { "arm64" };
    let groups = ["allowed", "refused"].into_iter().flat_map(|kind| list[kind].as_array().unwrap());
    let native = groups.filter(|group| group["only"] != foreign);
    for name in native.flat_map(|group| group["names"].as_array().unwrap()).map(|name| name.as_str().unwrap()) {
        assert!(libseccomp::ScmpSyscall::from_name(name).is_ok() || NEWER.contains(&name), "{name}");
    }
}

/// As this program finds it, in an image of its own: with arguments that are valid for no call, so that the kernel's own
/// answer would be another one.
pub(crate) fn calls_are_refused_or_missing_as_listed() {
    let list: serde_json::Value = serde_json::from_str(LIST).unwrap();
    let foreign = if cfg!(target_arch = "aarch64") { "x86-64" } else { "arm64" };
    let groups = list["refused"].as_array().unwrap().iter().filter(|group| group["only"] != foreign);
    let unconditional = groups.filter(|group| group["when"].is_null());
    let names = unconditional.flat_map(|group| group["names"].as_array().unwrap()).map(|name| name.as_str().unwrap());
    let number = |name: &str| i32::from(libseccomp::ScmpSyscall::from_name(name).unwrap());
    let refused: Vec<i32> = names.map(number).filter(|number| *number >= 0).collect();
    // Nothing has the last.
    let missing = [number("clone3"), number("memfd_secret"), 1_000];
    let user_namespace = format!("{} {}", number("clone"), nix::libc::CLONE_NEWUSER);
    let families = [nix::libc::AF_PACKET, nix::libc::AF_VSOCK, nix::libc::AF_ALG]
        .map(|family| format!("{} {family} {} 0", number("socket"), nix::libc::SOCK_DGRAM));
    let tried = refused.iter().chain(&missing).map(i32::to_string).chain([user_namespace]).chain(families);
    let tried = tried.collect::<Vec<_>>().join(",");

    let mut stage = Stage::set();
    let program = std::env::current_exe().unwrap();
    let layer = stage.unpack(with_program(Archive::new(), &program, "/confinement"));
    let command = format!("system-calls {tried}");
    let spec = image("calls", 1, &[layer], &["/confinement", "answer", &command]);
    let log = stage.node.start_image(&spec).log;
    assert_eq!(stage.node.exit_cause(&spec.replica), ExitCause::Code { code: 0 });
    let told = read_log(log);
    let told: Vec<&str> = told.trim().split(',').collect();
    let (of_refused, others) = told.split_at(refused.len());
    for (number, answer) in refused.iter().zip(of_refused) {
        assert_eq!(*answer, "EPERM", "{number}");
    }
    assert_eq!(others, ["ENOSYS", "ENOSYS", "ENOSYS", "EPERM", "ENOSYS", "ENOSYS", "ENOSYS"]);
    stage.end();
}

pub(crate) fn python_serves_from_layers_that_hide() {
    let mut stage = Stage::set();
    let layout = Layout::take(&stage.daemon.settings.data, "python-http");
    for layer in &layout.layers {
        stage.node.unpack(layer).unwrap_or_else(|reason| panic!("{reason}"));
    }
    let mut spec = layout.replica("python", 1);
    spec.limits.cpu = dormouse_driver::daemon::REPLICA_CPU;
    stage.node.start_image(&spec);
    let mut page = |path: &str| get(stage.node.connect(&spec.replica, PORT), path);
    assert_eq!(page("/index.html"), "python serves this");
    assert_eq!(page("/assets/new.txt"), "an opaque directory shows this");
    for hidden in ["/stale.html", "/assets/old.txt", "/../drafts/draft.txt"] {
        assert!(page(hidden).contains("404"), "{hidden}");
    }
    // What servers in Python are made of: threads, processes, locks and pools of them, subprocesses, asynchronous I/O.
    let script = "import asyncio, concurrent.futures as f, multiprocessing as m, os, socket, subprocess, sys, tempfile, threading
assert m.Pool(2).map(abs, [-1, -2]) == [1, 2]
assert list(f.ThreadPoolExecutor(2).map(abs, [-1])) == [1]
assert subprocess.run([sys.executable, '-c', 'print(7)'], capture_output=True).stdout == b'7\\n'
assert asyncio.run(asyncio.sleep(0, 3)) == 3
tempfile.TemporaryFile().write(b'x'); m.Lock(); m.shared_memory if False else None
assert socket.getaddrinfo('localhost', 80) and socket.gethostname() == 'python' and socket.if_nameindex()
threading.Thread(target=print, args=('all done',)).start()";
    let script = with(layout.replica("python", 2), |payload| {
        payload.args = vec!["python3.11".into(), "-c".into(), script.into()];
    });
    let log = stage.node.start_image(&script).log;
    let cause = stage.node.exit_cause(&script.replica);
    let log = read_log(log);
    assert!(cause == ExitCause::Code { code: 0 } && log.contains("all done"), "{cause}: {log}");
    stage.end();
}
