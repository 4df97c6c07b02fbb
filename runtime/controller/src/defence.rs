//! The defences of the controller by name, and the one way to take one of them away.
//!
//! In the product every defence stands: [`Defence::stands`] is a constant, and nothing that would
//! weaken one is compiled. The attack suite compiles this crate a second time, as a package of its
//! own with `--cfg weakened`, to show of each attack that it succeeds where its defence is missing.

/// One line of defence against one class of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defence {
    /// What a replica prints fills two files of a limited size, and no more.
    LogLimit,
    /// Heads of requests whose bodies never come are believed for one client's wait.
    HeadsDoubted,
}

impl Defence {
    /// Whether the defence is there. In the product all are.
    #[cfg(not(weakened))]
    #[inline(always)]
    pub(crate) const fn stands(self) -> bool {
        true
    }

    /// The suite names the missing one in the daemon's environment.
    #[cfg(weakened)]
    pub(crate) fn stands(self) -> bool {
        std::env::var("DORMOUSE_WEAKENED").map_or(true, |missing| missing != format!("{self:?}"))
    }
}
