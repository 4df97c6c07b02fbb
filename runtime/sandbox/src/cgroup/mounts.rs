use std::path::PathBuf;

/// What a machine without v1 controllers must have on v2, and one with any must have on v1.
pub(super) const V1_CONTROLLERS: [&str; 5] = ["cpu", "memory", "pids", "devices", "freezer"];

/// Where control groups are mounted, as `/proc/self/mountinfo` tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mounts {
    V1 {
        hierarchies: Vec<Hierarchy>,
        /// Of v2, without controllers.
        unified: Option<PathBuf>,
    },
    V2(PathBuf),
}

/// One v1 hierarchy with its controllers; often a single one, but `cpu,cpuacct` are common pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) root: PathBuf,
    pub(super) controllers: Vec<String>,
}

impl Mounts {
    /// A controller is in one hierarchy only, so one that v1 has cannot be had from v2: a hybrid
    /// machine is v1. None where nothing usable is mounted.
    pub(super) fn parse(mountinfo: &str) -> Option<Self> {
        let mut hierarchies = Vec::<Hierarchy>::new();
        let mut unified = None;
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            match mount.kind {
                // The same hierarchy may be mounted twice; the first place is as good as any.
                "cgroup" => {
                    let controllers = mount.controllers();
                    let is_new = hierarchies.iter().all(|known| known.controllers != controllers);
                    if !controllers.is_empty() && is_new {
                        hierarchies.push(Hierarchy { root: mount.point.into(), controllers });
                    }
                }
                "cgroup2" => {
                    unified.get_or_insert_with(|| PathBuf::from(mount.point));
                }
                _ => {}
            }
        }
        let is_v1 = hierarchies
            .iter()
            .flat_map(|hierarchy| &hierarchy.controllers)
            .any(|controller| V1_CONTROLLERS.contains(&controller.as_str()));
        if is_v1 { Some(Self::V1 { hierarchies, unified }) } else { unified.map(Self::V2) }
    }
}

/// The parts of one line that matter here.
struct Mount<'a> {
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        Some(Self { point: mount.split(' ').nth(4)?, kind: filesystem.next()?, options: filesystem.nth(1)? })
    }

    /// The controllers among the options of the superblock. A named hierarchy (`name=systemd`) has
    /// none: nothing is limited there.
    fn controllers(&self) -> Vec<String> {
        const OTHER_OPTIONS: [&str; 8] =
            ["rw", "ro", "noprefix", "xattr", "clone_children", "cpuset_v2_mode", "favordynmods", "none"];
        self.options
            .split(',')
            .filter(|option| !option.contains('=') && !OTHER_OPTIONS.contains(option))
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
33 31 0:30 / /sys/fs/cgroup/systemd rw,nosuid shared:10 - cgroup cgroup rw,xattr,name=systemd
34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 master:1 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:12 - cgroup cgroup rw,memory
36 31 0:32 / /mnt/memory rw,nosuid shared:12 - cgroup cgroup rw,memory
";

    #[test]
    fn a_hybrid_machine_is_v1_by_its_controllers() {
        let hierarchy = |root: &str, controllers: &[&str]| Hierarchy {
            root: root.into(),
            controllers: controllers.iter().copied().map(str::to_owned).collect(),
        };
        let expected = vec![
            hierarchy("/sys/fs/cgroup/cpu,cpuacct", &["cpu", "cpuacct"]),
            hierarchy("/sys/fs/cgroup/memory", &["memory"]),
        ];
        let unified = Some("/sys/fs/cgroup/unified".into());
        assert_eq!(Mounts::parse(HYBRID).unwrap(), Mounts::V1 { hierarchies: expected, unified });
    }

    #[test]
    fn without_v1_controllers_the_unified_hierarchy_serves() {
        let no_controllers = HYBRID.lines().take(3).collect::<Vec<_>>().join("\n");
        assert_eq!(Mounts::parse(&no_controllers).unwrap(), Mounts::V2("/sys/fs/cgroup/unified".into()));
        let pure = "23 28 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot";
        assert_eq!(Mounts::parse(pure).unwrap(), Mounts::V2("/sys/fs/cgroup".into()));
    }

    #[test]
    fn nothing_mounted_is_told() {
        assert_eq!(Mounts::parse("22 1 0:2 / / rw - ext4 /dev/root rw"), None);
        assert_eq!(Mounts::parse("cgroup"), None);
    }
}
