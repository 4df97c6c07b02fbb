//! A probe that asks by HTTP.

use crate::ProbeHandler;

use super::{
    super::{ManifestError, Note, field::Field, kubernetes},
    port::Port,
};

/// Header fields of one probe.
const HEADERS_MAX: usize = 32;

pub(super) fn read(field: Field, port: &Port, notes: &mut Vec<Note>) -> Result<ProbeHandler, ManifestError> {
    let mut get = field.mapping()?;
    let (path, number, headers) = (get.take("path"), get.take("port"), get.take("httpHeaders"));
    get.finish(&[kubernetes::HTTP_GET], notes)?;
    Ok(ProbeHandler::HttpGet {
        port: port.named_by(number.as_ref())?,
        path: path.as_ref().map(read_path).transpose()?.unwrap_or_else(|| "/".to_owned()),
        headers: headers.map(read_headers).transpose()?.unwrap_or_default(),
    })
}

/// The path and query of a request, which begins with a `/` whether or not that is written.
fn read_path(field: &Field) -> Result<String, ManifestError> {
    let path = field.text()?;
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(field.unsupported("a path of HTTP is ASCII without spaces and `#`; write others as `%20`"));
    }
    Ok(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

fn read_headers(field: Field) -> Result<Vec<(String, String)>, ManifestError> {
    field.list_of(HEADERS_MAX)?.into_iter().map(read_header).collect()
}

fn read_header(item: Field) -> Result<(String, String), ManifestError> {
    let mut header = item.mapping()?;
    let name = header.required("name")?;
    let value = header.take("value");
    header.finish(&[], &mut Vec::new())?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.text()?.is_empty() || !name.text()?.bytes().all(token) {
        return Err(name.unsupported("no header has such a name"));
    }
    let value = match &value {
        Some(value) if value.text()?.bytes().all(|byte| byte == b' ' || byte == b'\t' || byte.is_ascii_graphic()) => {
            value.text()?.to_owned()
        }
        Some(value) => return Err(value.unsupported("a header's value is ASCII without control characters")),
        None => String::new(),
    };
    Ok((name.text()?.to_owned(), value))
}
