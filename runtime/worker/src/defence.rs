//! The defences of the worker by name, and the one way to take one of them away.
//!
//! In the product every defence stands: [`Defence::stands`] is a constant, and nothing that would
//! weaken one is compiled. The attack suite compiles this crate a second time, as a package of its
//! own with `--cfg weakened`, to show of each attack that it succeeds where its defence is missing.

#[cfg(weakened)]
pub(crate) mod weakened;

/// One line of defence against one class of bad input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(weakened), expect(dead_code, reason = "of some, the check itself is all that the product knows"))]
pub(crate) enum Defence {
    /// A request's body has a limit.
    BodyLimit,
    /// So has what it inflates to.
    InflateLimit,
    /// A shape has no negative dimension, and its elements are counted without overflow.
    ShapesChecked,
    /// Bytes that are declared are there, and are as many as the shape takes.
    SizesChecked,
    /// A number is one of its type.
    NumbersChecked,
    /// JSON is read without recursion that its sender controls.
    DepthLimit,
    /// An input is given once.
    InputsOnce,
    /// What is said of a request is short, however long the request is.
    ShortErrors,
    /// A template's memory is shut to the servers that it forked.
    NotDumpable,
    /// A forked server can open, make, signal and look into nothing.
    ServerFilter,
    /// A forked server gives up its template's channel.
    OwnChannel,
    /// A forked server is in a control group of its own.
    OwnGroup,
}

impl Defence {
    /// Whether the defence is there. In the product all are.
    #[cfg(not(weakened))]
    #[inline(always)]
    pub(crate) const fn stands(self) -> bool {
        true
    }

    /// The suite names what is missing in the worker's environment.
    #[cfg(weakened)]
    pub(crate) fn stands(self) -> bool {
        !weakened::is_missing(&format!("{self:?}"))
    }
}
