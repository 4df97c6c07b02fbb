//! As whom a container runs: `securityContext`, of the pod and of the container.

use super::super::{
    ManifestError, Note,
    field::{Field, Mapping},
    kubernetes,
};

/// A container has so many ids, and the last of them is this.
const ID_MAX: u32 = 65_535;
const ROOT: u32 = 0;

/// What a container does not say is its pod's.
#[derive(Debug, Default)]
pub(in super::super) struct Security {
    user: Option<User>,
    pub(super) group: Option<u32>,
    non_root: Option<bool>,
    pub(super) read_only_root: bool,
}

#[derive(Debug)]
struct User {
    id: u32,
    field: Field,
}

pub(in super::super) fn of_pod(field: Field, notes: &mut Vec<Note>) -> Result<Security, ManifestError> {
    let mut context = field.mapping()?;
    let security = read(&mut context, notes)?;
    context.finish(&[kubernetes::POD_SECURITY], notes)?;
    Ok(security)
}

pub(super) fn of_container(field: Field, pod: Security, notes: &mut Vec<Note>) -> Result<Security, ManifestError> {
    let mut context = field.mapping()?;
    let own = read(&mut context, notes)?;
    let (read_only, capabilities) = (context.take("readOnlyRootFilesystem"), context.take("capabilities"));
    context.finish(&[kubernetes::SECURITY], notes)?;
    let security = Security {
        user: own.user.or(pod.user),
        group: own.group.or(pod.group),
        non_root: own.non_root.or(pod.non_root),
        read_only_root: read_only.map(|field| field.boolean()).transpose()?.unwrap_or(false),
    };
    if let Some(capabilities) = capabilities {
        read_capabilities(capabilities, &security, notes)?;
    }
    Ok(security)
}

fn read(context: &mut Mapping, notes: &mut Vec<Note>) -> Result<Security, ManifestError> {
    let id = |field: &Field| field.count(0, ID_MAX, "a container's ids are from 0 to 65535");
    if let Some(seccomp) = context.take("seccompProfile") {
        seccomp.mapping()?.finish(&[kubernetes::SECCOMP], notes)?;
    }
    Ok(Security {
        user: context.take("runAsUser").map(|field| id(&field).map(|id| User { id, field })).transpose()?,
        group: context.take("runAsGroup").as_ref().map(id).transpose()?,
        non_root: context.take("runAsNonRoot").map(|field| field.boolean()).transpose()?,
        read_only_root: false,
    })
}

/// None is given that root has not, and none is taken from root.
fn read_capabilities(field: Field, security: &Security, notes: &mut Vec<Note>) -> Result<(), ManifestError> {
    let mut capabilities = field.mapping()?;
    let (add, drop) = (capabilities.take("add"), capabilities.take("drop"));
    capabilities.finish(&[], notes)?;
    for name in add.map(Field::list).transpose()?.unwrap_or_default() {
        if !kubernetes::CAPABILITIES_OF_ROOT.contains(&name.text()?) {
            return Err(name.unsupported(kubernetes::ADD_REASON));
        }
    }
    let Some(drop) = drop else { return Ok(()) };
    if !security.is_never_root() {
        drop.note_ignored(kubernetes::DROP_REASON, notes);
    }
    drop.list()?.iter().try_for_each(|name| name.any_text().map(|_| ()))
}

impl Security {
    pub(super) fn user(&self) -> Option<u32> {
        self.user.as_ref().map(|user| user.id)
    }

    fn is_never_root(&self) -> bool {
        self.non_root == Some(true) || self.user().is_some_and(|user| user != ROOT)
    }

    /// Whether the container may not run as root, of which its image alone may know.
    pub(super) fn non_root(&self) -> Result<bool, ManifestError> {
        match &self.user {
            Some(user) if user.id == ROOT && self.non_root == Some(true) => {
                Err(user.field.unsupported("0 is root, and `runAsNonRoot` is set"))
            }
            _ => Ok(self.non_root == Some(true)),
        }
    }
}
