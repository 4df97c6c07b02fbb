//! The defences of the network half by name, and the one way to take one of them away.
//!
//! In the product every defence stands: [`Defence::stands`] is a constant, and nothing that would
//! weaken one is compiled. The attack suite compiles this crate a second time, as a package of its
//! own with `--cfg weakened`, to show of each attack that it succeeds where its defence is missing.

#[cfg(weakened)]
pub(crate) mod weakened;

/// One line of defence against one class of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(weakened), expect(dead_code, reason = "of some, the limit itself is all that the product knows"))]
pub(crate) enum Defence {
    /// Where all places are taken, a connection that keeps the gateway waiting gives its place up.
    PlacesGivenUp,
    /// A request gets a replica only when the beginning of its body is there.
    BodyReadAhead,
    /// A body comes at a least rate while it holds a replica.
    BodyPace,
    /// An answer is taken at a least rate while it holds a replica.
    AnswerPace,
    /// A request's head has a limit.
    HeadLimit,
    /// A request's body has a limit.
    BodyLimit,
    /// Streams of one HTTP/2 connection, open or reset, have a limit.
    StreamLimit,
    /// A name is looked up; it never becomes a path.
    NamesLookedUp,
    /// Who connected to the admin socket is asked of the kernel, before a byte is read.
    PeerAsked,
    /// Descriptors that come on one connection to the admin socket have a limit.
    DescriptorLimit,
    /// A file of a deploy is read through the descriptor that the caller opened, with what it is open for.
    CallerOpens,
    /// A document that is sent to the admin socket has a limit.
    DocumentLimit,
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
        weakened::missing() != format!("{self:?}")
    }
}
