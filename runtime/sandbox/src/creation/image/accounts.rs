//! As whom a process of an image runs, by what its image writes: `user[:group]`, looked up as Docker and runc do.
//!
//! Both files are the image's, so any byte may be in them: a line that is no account is passed over.

use dormouse_spec::printable;

use crate::{messages::ImageUser, uids::ImageIds};

/// Of an account's other groups.
const GROUPS_MAX: usize = 256;
/// What the image's files are called in errors.
pub(crate) const PASSWD: &str = "/etc/passwd";
pub(crate) const GROUP: &str = "/etc/group";

/// A user in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `gid` among them: a process that could take itself out of its group would pass where the group is kept out.
    /// Each once, in order.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Why nobody can run as this.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccountError {
    #[error("there is no {kind} `{}` in the image's {file}", printable(name))]
    Unknown { kind: &'static str, name: String, file: &'static str },
    #[error("{kind} {id} is over {}, the last one that a container has", ImageIds::COUNT - 1)]
    Range { kind: &'static str, id: u64 },
    #[error("the user is in over {GROUPS_MAX} groups of the image's {GROUP}")]
    Groups,
}

/// The two files, and empty texts where there are none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accounts<'a> {
    pub(crate) passwd: &'a str,
    pub(crate) group: &'a str,
}

/// One line of passwd.
struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl Accounts<'_> {
    pub(crate) fn find(&self, asked: &ImageUser) -> Result<User, AccountError> {
        let (of_image, group_of_image) = match asked.of_image.split_once(':') {
            Some((user, group)) => (user, group),
            None => (asked.of_image.as_str(), ""),
        };
        // A user in the image's place takes the image's group along.
        let (user, group) = match asked.uid {
            Some(uid) => (uid.to_string(), String::new()),
            None => (of_image.to_owned(), group_of_image.to_owned()),
        };
        let group = asked.gid.map_or(group, |gid| gid.to_string());
        self.of(if user.is_empty() { "0" } else { &user }, &group)
    }

    /// A user that is a number need not be in the file; a group that is said is the only one.
    fn of(&self, user: &str, group: &str) -> Result<User, AccountError> {
        let number = number("user", user)?;
        let is_asked = |entry: &Entry<'_>| number.map_or(entry.name == user, |uid| entry.uid == uid);
        let entry = self.passwd.lines().filter_map(entry_of).find(is_asked);
        let unknown = || AccountError::Unknown { kind: "user", name: user.to_owned(), file: PASSWD };
        let uid = number.or(entry.as_ref().map(|entry| entry.uid)).ok_or_else(unknown)?;
        let home = entry.as_ref().map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
        let (gid, mut groups) = if group.is_empty() {
            let gid = entry.as_ref().map_or(0, |entry| entry.gid);
            (gid, entry.map_or(Ok(Vec::new()), |entry| self.groups_of(entry.name))?)
        } else {
            (self.group(group)?, Vec::new())
        };
        in_range("user", uid.into())?;
        in_range("group", gid.into())?;
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        Ok(User { uid, gid, groups, home })
    }

    fn group(&self, group: &str) -> Result<u32, AccountError> {
        if let Some(gid) = number("group", group)? {
            return Ok(gid);
        }
        let found = self.group.lines().filter_map(group_of).find(|(name, ..)| *name == group);
        let unknown = || AccountError::Unknown { kind: "group", name: group.to_owned(), file: GROUP };
        found.map(|(_, gid, _)| gid).ok_or_else(unknown)
    }

    /// Groups that list this user. One without an id that a container has is passed over.
    fn groups_of(&self, user: &str) -> Result<Vec<u32>, AccountError> {
        let lists_it = |(_, _, members): &(&str, u32, &str)| members.split(',').any(|member| member == user);
        let its = self.group.lines().filter_map(group_of).filter(lists_it).map(|(_, gid, _)| gid);
        let groups: Vec<u32> = its.filter(|gid| *gid < ImageIds::COUNT).take(GROUPS_MAX + 1).collect();
        if groups.len() > GROUPS_MAX { Err(AccountError::Groups) } else { Ok(groups) }
    }
}

/// `name:password:uid:gid:comment:home:shell`
fn entry_of(line: &str) -> Option<Entry<'_>> {
    let mut fields = line.split(':');
    let (name, _password) = (fields.next()?, fields.next()?);
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let (_comment, home) = (fields.next(), fields.next().unwrap_or_default());
    is_clean(name, home).then_some(Entry { name, uid, gid, home })
}

/// `name:password:gid:member,member`
fn group_of(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let (name, _password, gid) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
    is_clean(name, "").then_some((name, gid, fields.next().unwrap_or_default()))
}

/// What a NUL is in could be given to no process.
fn is_clean(name: &str, home: &str) -> bool {
    !name.is_empty() && !home.contains('\0')
}

fn number(kind: &'static str, text: &str) -> Result<Option<u32>, AccountError> {
    let Ok(id) = text.parse::<u64>() else { return Ok(None) };
    in_range(kind, id)?;
    Ok(u32::try_from(id).ok())
}

fn in_range(kind: &'static str, id: u64) -> Result<(), AccountError> {
    if id < ImageIds::COUNT.into() { Ok(()) } else { Err(AccountError::Range { kind, id }) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ACCOUNTS: Accounts<'static> = Accounts {
        passwd: "root:x:0:0:root:/root:/bin/sh\n\nbroken\nweb:x:33:34::/srv\n7:x:1000:1000::/seven:\nbig:x:70000:1::/:\n\
                 nul:x:5:5::/a\0b:\n",
        group: "root:x:0:\nwww:x:34:web,root\nlog:x:4:web\nlog2:x:4:web,other\nfar:x:99999:web\nbroken:x\n",
    };

    fn find(of_image: &str, uid: Option<u32>, gid: Option<u32>) -> Result<User, AccountError> {
        ACCOUNTS.find(&ImageUser { of_image: of_image.to_owned(), uid, gid })
    }

    fn user(uid: u32, gid: u32, groups: &[u32], home: &str) -> User {
        User { uid, gid, groups: groups.to_vec(), home: home.to_owned() }
    }

    #[test]
    fn names_and_numbers_are_what_the_images_files_say() {
        assert_eq!(find("", None, None).unwrap(), user(0, 0, &[0, 34], "/root"));
        assert_eq!(find("web", None, None).unwrap(), user(33, 34, &[4, 34], "/srv"));
        assert_eq!(find("33", None, None).unwrap(), user(33, 34, &[4, 34], "/srv"));
        assert_eq!(
            find("web:log", None, None).unwrap(),
            user(33, 4, &[4], "/srv"),
            "a group that is said is the only one"
        );
        assert_eq!(find("web:12", None, None).unwrap(), user(33, 12, &[12], "/srv"));
        assert_eq!(find("1234", None, None).unwrap(), user(1_234, 0, &[0], "/"));
        assert_eq!(
            find("7", None, None).unwrap(),
            user(7, 0, &[0], "/"),
            "a number is a uid, whatever names there are"
        );
        assert_eq!(find(":log", None, None).unwrap(), user(0, 4, &[4], "/root"));
    }

    #[test]
    fn others_take_the_place_of_the_images() {
        assert_eq!(find("web:log", Some(1_000), None).unwrap(), user(1_000, 1_000, &[1_000], "/seven"));
        assert_eq!(find("web", None, Some(9)).unwrap(), user(33, 9, &[9], "/srv"));
        assert_eq!(find("nobody-knows", Some(2), Some(3)).unwrap(), user(2, 3, &[3], "/"));
    }

    #[test]
    fn who_is_unknown_or_beyond_the_range_is_named() {
        for (asked, part) in [
            ("nope", "no user `nope` in the image's /etc/passwd"),
            ("web:nope", "no group `nope` in the image's /etc/group"),
            ("no\u{1b}[2Jpe", "no user `no\\u{1b}[2Jpe`"),
            ("-1", "no user `-1`"),
            ("nul", "no user `nul`"),
            ("65536", "user 65536 is over 65535"),
            ("0:65536", "group 65536 is over 65535"),
            ("big", "user 70000 is over 65535"),
        ] {
            let error = find(asked, None, None).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(find("", Some(65_536), None), Err(AccountError::Range { kind: "user", id: 65_536 }));
    }

    #[test]
    fn no_files_are_no_names() {
        let none = Accounts { passwd: "", group: "" };
        let asked = |of_image: &str| ImageUser { of_image: of_image.to_owned(), uid: None, gid: None };
        assert_eq!(none.find(&asked("")).unwrap(), user(0, 0, &[0], "/"));
        assert!(none.find(&asked("root")).is_err());
    }
}
