use super::Container;

/// Why a container may be root that may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NonRootError {
    #[error("its image runs as root, and `runAsNonRoot` is set: say another user with `runAsUser`")]
    Root,
    #[error(
        "whether the image's user `{0}` is root is not known before it runs, and `runAsNonRoot` is set: say the \
         number of a user with `runAsUser`"
    )]
    Named(String),
}

impl Container {
    /// Checks what `run_as_non_root` asks for, as a kubelet does. `user` is the image's: empty, `user`, `uid`,
    /// `user:group` or `uid:gid`.
    ///
    /// # Errors
    /// Where the process may be root and shall not be.
    pub fn check_non_root(&self, user: &str) -> Result<(), NonRootError> {
        if !self.run_as_non_root {
            return Ok(());
        }
        let of_image = user.split(':').next().unwrap_or_default();
        let is_number = !of_image.is_empty() && of_image.bytes().all(|byte| byte.is_ascii_digit());
        match self.run_as_user {
            Some(0) => Err(NonRootError::Root),
            Some(_) => Ok(()),
            None if of_image.bytes().all(|byte| byte == b'0') => Err(NonRootError::Root),
            None if is_number => Ok(()),
            None => Err(NonRootError::Named(crate::printable(of_image))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_may_be_root_is_refused() {
        let any = Container::of("busybox".parse().unwrap());
        let non_root = Container { run_as_non_root: true, ..any.clone() };
        for user in ["", "0", "00:1", "root", "1000"] {
            assert_eq!(any.check_non_root(user), Ok(()), "{user}");
        }
        for user in ["", "0", "000", "0:1000", ":1"] {
            assert_eq!(non_root.check_non_root(user), Err(NonRootError::Root), "{user}");
        }
        for user in ["nobody", "root", "web:web", "-1", "+0"] {
            assert!(matches!(non_root.check_non_root(user), Err(NonRootError::Named(_))), "{user}");
        }
        for user in ["1", "1000:0", "65535"] {
            assert_eq!(non_root.check_non_root(user), Ok(()), "{user}");
        }
        let said = Container { run_as_user: Some(7), ..non_root.clone() };
        assert_eq!(said.check_non_root("root"), Ok(()));
        assert_eq!(Container { run_as_user: Some(0), ..non_root }.check_non_root("7"), Err(NonRootError::Root));
    }
}
