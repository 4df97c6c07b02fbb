//! Where a container listens: the one entry of `ports`.

use crate::{AppProtocol, PORT_DEFAULT};

use super::super::{
    ManifestError, Note,
    field::Field,
    kubernetes,
    pod_spec::{Owner, Standard},
};

/// Knative's name of a port that speaks HTTP/2 without TLS; others of Kubernetes' world begin so.
const H2C: &str = "h2c";
const H2C_PREFIX: &str = "h2c-";
/// What Kubernetes calls it where a service says what is spoken on its port.
const KUBERNETES_H2C: &str = "kubernetes.io/h2c";
const HTTP: &str = "http";

#[derive(Debug, Default)]
pub(super) struct Port {
    /// None: where the image says.
    pub(super) number: Option<u16>,
    name: Option<String>,
    pub(super) app_protocol: AppProtocol,
}

pub(super) fn read(ports: Option<Field>, owner: &Owner<'_>, notes: &mut Vec<Note>) -> Result<Port, ManifestError> {
    let mut items = ports.map(Field::list).transpose()?.unwrap_or_default().into_iter();
    let mut port = items.next().map(|item| read_item(item, owner, notes)).transpose()?.unwrap_or_default();
    if let Some(second) = items.next() {
        return Err(second.unsupported("requests go to one port; leave the others out"));
    }
    if owner.standard != Standard::Kubernetes {
        port.number.get_or_insert(PORT_DEFAULT);
    }
    Ok(port)
}

fn read_item(item: Field, owner: &Owner<'_>, notes: &mut Vec<Note>) -> Result<Port, ManifestError> {
    let mut item = item.mapping()?;
    let (name, number, spoken) = (item.take("name"), item.take("containerPort"), item.take("appProtocol"));
    let missing = item.missing("containerPort");
    item.finish(&[kubernetes::PORT], notes)?;
    let name = name.map(|name| name.text().map(str::to_owned)).transpose()?;
    let number = match number {
        Some(number) => Some(read_number(&number)?),
        // Knative's ports may be names of protocols, and no more.
        None if owner.standard == Standard::Knative => None,
        None => return Err(missing),
    };
    let app_protocol = match spoken {
        Some(spoken) => read_app_protocol(&spoken)?,
        None if name.as_deref().is_some_and(|name| name == H2C || name.starts_with(H2C_PREFIX)) => AppProtocol::H2c,
        None => AppProtocol::Http1,
    };
    Ok(Port { number, name, app_protocol })
}

fn read_app_protocol(field: &Field) -> Result<AppProtocol, ManifestError> {
    match field.text()? {
        KUBERNETES_H2C => Ok(AppProtocol::H2c),
        HTTP => Ok(AppProtocol::Http1),
        _ => Err(field.unsupported("`http` and `kubernetes.io/h2c` are spoken to a replica")),
    }
}

fn read_number(field: &Field) -> Result<u16, ManifestError> {
    field.count(1, u16::MAX.into(), "a port is from 1 to 65535").map(|number| u16::try_from(number).unwrap_or(u16::MAX))
}

impl Port {
    /// The variable of this name is given to every container, with the port that requests go to.
    pub(super) fn told_by(&mut self, variable: &Field, text: &str) -> Result<(), ManifestError> {
        match text.parse() {
            Ok(number @ 1..) if self.number.is_none_or(|own| own == number) => self.number = Some(number),
            _ => {
                return Err(variable.unsupported("it tells the port that requests go to: write the same under `ports`"));
            }
        }
        Ok(())
    }

    /// A port that is a number. None: where requests go.
    pub(super) fn numbered_by(&self, field: &Field) -> Result<Option<u16>, ManifestError> {
        read_number(field).map(|number| Some(number).filter(|_| self.number != Some(number)))
    }

    /// A port that is a number or a name of this one. None: where requests go.
    pub(super) fn named_by(&self, field: Option<&Field>) -> Result<Option<u16>, ManifestError> {
        match field {
            None => Ok(None),
            Some(field) if field.is_integer() => self.numbered_by(field),
            Some(field) if self.name.as_deref() == Some(field.text()?) => Ok(None),
            Some(field) => Err(field.unsupported("the container has no port of this name")),
        }
    }
}
