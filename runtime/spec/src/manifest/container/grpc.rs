//! A probe that asks by the health protocol of gRPC.

use crate::ProbeHandler;

use super::{
    super::{ManifestError, Problem, field::Field},
    port::Port,
};

/// Of a service's name: packages and all, none is longer.
const SERVICE_BYTES_MAX: usize = 1024;

pub(super) fn read(field: Field, port: &Port) -> Result<ProbeHandler, ManifestError> {
    let mut grpc = field.mapping()?;
    let (number, service) = (grpc.take("port"), grpc.take("service"));
    let missing = grpc.missing("port");
    grpc.finish(&[], &mut Vec::new())?;
    // Kubernetes wants a number here, and knows no default.
    let port = port.numbered_by(&number.ok_or(missing)?)?;
    let service = service.map(|service| read_service(&service)).transpose()?.unwrap_or_default();
    Ok(ProbeHandler::Grpc { port, service })
}

fn read_service(field: &Field) -> Result<String, ManifestError> {
    match field.any_text()? {
        long if long.len() > SERVICE_BYTES_MAX => {
            Err(field.fail(Problem::Unsupported(format!("a service of more than {SERVICE_BYTES_MAX} bytes"))))
        }
        service => Ok(service.to_owned()),
    }
}
