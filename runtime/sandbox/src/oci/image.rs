//! The container of a process of an image.

use libcontainer::oci_spec::{
    OciSpecError,
    runtime::{Capability, Mount, UserBuilder},
};

use super::{Running, capabilities, common_mounts, writable};
use dormouse_spec::EnvVar;

use crate::{creation::image::accounts::User, messages::ImagePayload};

/// Where programs are looked for that an image does not say, as Docker does.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Servers hold a descriptor for each connection, and some of them more.
const DESCRIPTORS_MAX: u64 = 65_536;
/// What images' own root is used to: files of other users and becoming one of them. Each holds in the container's
/// own user namespace alone, over ids of its range. Their numbers as the kernel tells them are in [`OF_ROOT_MASK`].
const OF_ROOT: [Capability; 9] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::NetBindService,
];
/// CAP_CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, KILL 5, SETGID 6, SETUID 7, SETPCAP 8, NET_BIND_SERVICE 10.
const OF_ROOT_MASK: u64 = 0b101_1111_1011;

/// The capabilities of a process that begins as this user, as the kernel tells them.
pub(crate) fn capabilities_of(user: &User) -> u64 {
    if user.uid == 0 { OF_ROOT_MASK } else { 0 }
}

pub(crate) fn running(payload: &ImagePayload, user: &User, hostname: &str) -> Result<Running, OciSpecError> {
    let builder = UserBuilder::default().uid(user.uid).gid(user.gid).umask(0o022_u32);
    Ok(Running {
        user: builder.additional_gids(user.groups.clone()).build()?,
        args: payload.args.clone(),
        env: environment(payload, user, hostname),
        working_dir: payload.working_dir.clone(),
        capabilities: capabilities(if user.uid == 0 { &OF_ROOT } else { &[] }),
        descriptors_max: DESCRIPTORS_MAX,
    })
}

/// What it was given, and what it was not given and every process has.
///
/// There is always a `HOME`, and it is never empty: libcontainer would look for one, by the C library and before anything
/// of the confinement is in force, and the C library would load code of the image's for it.
fn environment(payload: &ImagePayload, user: &User, hostname: &str) -> Vec<String> {
    let is_usable = |variable: &&EnvVar| variable.name() != "HOME" || !variable.value().is_empty();
    let given = || payload.env.iter().filter(is_usable);
    let is_given = |name: &str| given().any(|variable| variable.name() == name);
    let home = if user.home.is_empty() { "/" } else { user.home.as_str() };
    let own = [("PATH", PATH), ("HOSTNAME", hostname), ("HOME", home)];
    let own = own.into_iter().filter(|(name, _)| !is_given(name)).map(|(name, value)| format!("{name}={value}"));
    own.chain(given().map(|variable| format!("{}={}", variable.name(), variable.value()))).collect()
}

/// Where the root can be written to, /tmp is a part of it.
pub(crate) fn mounts(tmp_bytes: u64, is_root_read_only: bool) -> Result<Vec<Mount>, OciSpecError> {
    let mut mounts = common_mounts()?;
    mounts.push(writable("/dev/shm", tmp_bytes, &["noexec"])?);
    if is_root_read_only {
        mounts.push(writable("/tmp", tmp_bytes, &[])?);
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dormouse_spec::StopSignal;

    use super::*;
    use crate::messages::ImageUser;

    #[test]
    fn a_process_has_what_it_was_given_and_what_all_have() {
        let variable = |name: &str, value: &str| EnvVar::new(name.to_owned(), value.to_owned()).unwrap();
        let mut payload = ImagePayload {
            layers: Vec::new(),
            args: vec!["serve".to_owned()],
            env: vec![variable("PATH", "/bin"), variable("A", "b=c")],
            working_dir: "/".to_owned(),
            user: ImageUser { of_image: String::new(), uid: None, gid: None },
            stop_signal: StopSignal::TERM,
            read_only_root: false,
            volumes: Vec::new(),
            network: dormouse_spec::Network::None,
            commands: Vec::new(),
        };
        let user = User { uid: 7, gid: 8, groups: vec![9], home: "/srv".to_owned() };
        assert_eq!(environment(&payload, &user, "web"), ["HOSTNAME=web", "HOME=/srv", "PATH=/bin", "A=b=c"]);
        payload.env = vec![variable("HOME", "")];
        let homeless = User { home: String::new(), ..user.clone() };
        for (user, home) in [(&user, "HOME=/srv"), (&homeless, "HOME=/")] {
            let found = environment(&payload, user, "web");
            assert_eq!(found.iter().filter(|it| it.starts_with("HOME")).collect::<Vec<_>>(), [home]);
        }
        payload.env = vec![variable("HOME", "/root"), variable("HOSTNAME", "own")];
        let found = environment(&payload, &user, "web");
        assert_eq!(found, [format!("PATH={PATH}"), "HOME=/root".to_owned(), "HOSTNAME=own".to_owned()]);
    }
}
