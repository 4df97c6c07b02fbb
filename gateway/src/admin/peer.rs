//! Who may use the control plane: root, and members of one group.

use std::{io, ops::Range, os::fd::AsFd};

use super::AdminError;
use crate::defence::Defence;

const GROUPS: &str = "/etc/group";
const USERS: &str = "/etc/passwd";

/// The rule, and whom it never lets in.
#[derive(Debug, Clone)]
pub struct Admission {
    pub admin_group: String,
    /// The node process's own, so that whoever takes it over gets no further.
    pub node_uid: u32,
    /// Host uids of containers.
    pub container_uids: Range<u32>,
}

impl Admission {
    /// Decides by the credentials the kernel noted when the peer connected, its groups included: no
    /// process is looked up, so none can stand in for another. The admin group's own list is read anew
    /// each time; what a session that runs was given by it counts until that session ends.
    ///
    /// # Errors
    /// [`AdminError::NotAMember`] and [`AdminError::NeverAdmitted`].
    pub(super) fn check(&self, stream: impl AsFd) -> io::Result<Result<(), AdminError>> {
        if !Defence::PeerAsked.stands() {
            return Ok(Ok(()));
        }
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        let accounts = Accounts { groups: std::fs::read_to_string(GROUPS)?, users: std::fs::read_to_string(USERS)? };
        let mut gids = dormouse_sandbox::peer::groups(&stream)?;
        gids.push(peer.gid.as_raw());
        Ok(self.decide(peer.uid.as_raw(), &gids, &accounts))
    }

    fn decide(&self, uid: u32, gids: &[u32], accounts: &Accounts) -> Result<(), AdminError> {
        if uid == 0 {
            return Ok(());
        }
        if uid == self.node_uid || self.container_uids.contains(&uid) {
            return Err(AdminError::NeverAdmitted { uid });
        }
        let user = accounts.user(uid);
        if accounts.is_member(&self.admin_group, user, gids) {
            return Ok(());
        }
        let who = user.map_or_else(|| format!("uid {uid}"), |user| format!("user `{user}`"));
        let user = user.unwrap_or("USER").to_owned();
        Err(AdminError::NotAMember { who, user, group: self.admin_group.clone() })
    }
}

/// The texts of /etc/group and /etc/passwd.
struct Accounts {
    groups: String,
    users: String,
}

impl Accounts {
    fn user(&self, uid: u32) -> Option<&str> {
        self.users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, number) = (fields.next()?, fields.nth(1)?);
            (number.parse() == Ok(uid)).then_some(name)
        })
    }

    /// By the groups the peer runs with, or by the members the group lists.
    fn is_member(&self, group: &str, user: Option<&str>, gids: &[u32]) -> bool {
        self.groups.lines().any(|line| {
            let mut fields = line.split(':');
            fields.next() == Some(group)
                && (fields.nth(1).is_some_and(|number| number.parse().is_ok_and(|gid| gids.contains(&gid)))
                    || user
                        .is_some_and(|user| fields.next().is_some_and(|all| all.split(',').any(|name| name == user))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(uid: u32, gid: u32) -> Result<(), AdminError> {
        decide_with(uid, &[gid])
    }

    fn decide_with(uid: u32, gids: &[u32]) -> Result<(), AdminError> {
        let admission = Admission {
            admin_group: "dormouse-admin".to_owned(),
            node_uid: 998,
            container_uids: 1_879_048_192..1_879_113_728,
        };
        let accounts = Accounts {
            groups: "root:x:0:\ndormouse-admin-x:x:50:eve\ndormouse-admin:x:60:alice,bob\nusers:x:100:eve\n".to_owned(),
            users: "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\neve:x:1001:100::/:/bin/sh\n".to_owned(),
        };
        admission.decide(uid, gids, &accounts)
    }

    #[test]
    fn root_and_members_are_admitted() {
        assert!(decide(0, 0).is_ok());
        assert!(decide(1000, 1000).is_ok(), "listed as a member");
        assert!(decide(1001, 60).is_ok(), "runs as the group");
        assert!(decide(4242, 60).is_ok(), "has no name, runs as the group");
        assert!(decide_with(4242, &[7, 60]).is_ok(), "the group is one of its others");
    }

    #[test]
    fn others_are_told_the_command_that_grants_it() {
        let error = decide(1001, 100).map_err(|error| error.to_string());
        assert!(
            error.is_err_and(|text| text.contains("user `eve`") && text.contains("usermod -aG dormouse-admin eve"))
        );
        assert!(decide(4242, 4242).is_err_and(|error| error.to_string().contains("uid 4242")));
    }

    #[test]
    fn what_the_daemon_confines_is_refused_whatever_group_it_runs_as() {
        for uid in [998, 1_879_048_192, 1_879_113_727] {
            assert!(matches!(decide(uid, 60), Err(AdminError::NeverAdmitted { .. })), "{uid}");
        }
    }
}
