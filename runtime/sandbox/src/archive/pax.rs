//! Extended headers of POSIX archives: records of `length key=value`.

use super::{
    NAME_BYTES_MAX,
    entry::{ExtendedAttribute, Timestamp},
};

/// An extended header is read no further, in bytes.
pub(super) const PAX_BYTES_MAX: u64 = 1 << 20;

/// What a record's key begins with that is an extended attribute's name.
const ATTRIBUTE: &str = "SCHILY.xattr.";
/// The same of other archivers, and other rights: encoded in ways of their own, and never kept.
const ATTRIBUTES_LEFT_OUT: [&str; 4] = ["LIBARCHIVE.xattr.", "RHT.security.", "SCHILY.acl.", "SCHILY.fflags"];
/// Keys of files with holes, whose data is not the file's.
const SPARSE: &str = "GNU.sparse.";

/// What an extended header says of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) modified: Option<Timestamp>,
    pub(super) attributes: Vec<ExtendedAttribute>,
    /// Attributes in a form that is not read.
    pub(super) attributes_left_out: u64,
    pub(super) is_sparse: bool,
}

/// Why an extended header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaxError {
    #[error("its extended header is damaged")]
    Record,
    #[error("`{0}` in its extended header is no number")]
    Number(&'static str),
    #[error("`{key}` in its extended header has {bytes} bytes, over the limit of {NAME_BYTES_MAX}")]
    Long { key: &'static str, bytes: usize },
}

impl Pax {
    /// Reads the records of one header over what was said before: later ones count. An empty value takes
    /// back what was said.
    pub(super) fn read(&mut self, mut records: &[u8]) -> Result<(), PaxError> {
        while !records.is_empty() {
            let (key, value, rest) = first_record(records).ok_or(PaxError::Record)?;
            self.take(key, value)?;
            records = rest;
        }
        Ok(())
    }

    fn take(&mut self, key: &str, value: &[u8]) -> Result<(), PaxError> {
        match key {
            "path" => self.path = text("path", value)?,
            "linkpath" => self.link_path = text("linkpath", value)?,
            "size" => self.size = number("size", value)?,
            "uid" => self.uid = number("uid", value)?,
            "gid" => self.gid = number("gid", value)?,
            "mtime" => self.modified = timestamp(value)?,
            _ => self.take_other(key, value),
        }
        Ok(())
    }

    fn take_other(&mut self, key: &str, value: &[u8]) {
        if let Some(name) = key.strip_prefix(ATTRIBUTE) {
            self.attributes.push(ExtendedAttribute { name: name.to_owned(), value: value.to_vec() });
        } else if ATTRIBUTES_LEFT_OUT.iter().any(|left_out| key.starts_with(left_out)) {
            self.attributes_left_out += 1;
        } else if key.starts_with(SPARSE) {
            self.is_sparse = true;
        }
    }
}

/// Key, value and what follows.
fn first_record(records: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = records.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = decimal(records.get(..space)?)?.try_into().ok()?;
    let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let key = str::from_utf8(record.get(..equals)?).ok().filter(|key| !key.is_empty())?;
    Some((key, record.get(equals + 1..)?, records.get(length..)?))
}

fn text(key: &'static str, value: &[u8]) -> Result<Option<Vec<u8>>, PaxError> {
    if value.len() > NAME_BYTES_MAX {
        return Err(PaxError::Long { key, bytes: value.len() });
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn number(key: &'static str, value: &[u8]) -> Result<Option<u64>, PaxError> {
    if value.is_empty() {
        return Ok(None);
    }
    decimal(value).map(Some).ok_or(PaxError::Number(key))
}

/// Digits and nothing else: a sign would be read by some and refused by others.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// Seconds, and a fraction of which nine digits count.
fn timestamp(value: &[u8]) -> Result<Option<Timestamp>, PaxError> {
    const WRONG: PaxError = PaxError::Number("mtime");
    if value.is_empty() {
        return Ok(None);
    }
    let (is_negative, digits) = value.strip_prefix(b"-").map_or((false, value), |digits| (true, digits));
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().and_then(decimal).and_then(|seconds| i64::try_from(seconds).ok()).ok_or(WRONG)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(WRONG);
    }
    let nanoseconds = (0..9).fold(0, |sum, at| sum * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    Ok(Some(match (is_negative, nanoseconds) {
        (false, _) => Timestamp { seconds: whole, nanoseconds },
        (true, 0) => Timestamp { seconds: -whole, nanoseconds },
        // The nanoseconds are counted from the second before.
        (true, _) => Timestamp { seconds: -whole - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(records: &[u8]) -> Result<Pax, PaxError> {
        let mut pax = Pax::default();
        pax.read(records).map(|()| pax)
    }

    #[test]
    fn what_is_used_is_read_and_the_rest_is_not() {
        let pax = read(b"14 path=a\nb=c\n13 size=1234\n12 uid=7000\n19 mtime=12.500000\n11 atime=9\n").unwrap();
        let modified = Some(Timestamp { seconds: 12, nanoseconds: 500_000_000 });
        let expected = Pax { path: Some(b"a\nb=c".to_vec()), size: Some(1234), uid: Some(7000), ..Pax::default() };
        assert_eq!(pax, Pax { modified, ..expected });
    }

    #[test]
    fn the_last_word_counts_and_an_empty_one_takes_back() {
        assert_eq!(read(b"9 path=a\n9 path=b\n").unwrap().path, Some(b"b".to_vec()));
        assert_eq!(read(b"9 path=a\n8 path=\n").unwrap().path, None);
    }

    #[test]
    fn attributes_are_any_bytes() {
        let pax = read(b"26 SCHILY.xattr.user.a=\0\n\n30 LIBARCHIVE.xattr.user.b=eA\n").unwrap();
        assert_eq!(pax.attributes, [ExtendedAttribute { name: "user.a".to_owned(), value: b"\0\n".to_vec() }]);
        assert_eq!(pax.attributes_left_out, 1);
        assert!(read(b"22 GNU.sparse.major=1\n").unwrap().is_sparse);
    }

    #[test]
    fn a_damaged_record_is_refused() {
        for records in [
            "9",
            "9 ",
            "0 path=a\n",
            "2 path=a\n",
            "8 path=a\n",
            "11 path=a\n",
            "99 path=a\n",
            "+9 path=a\n",
            "x path=a\n",
            "8 patha\n",
            "5 =a\n",
            "123456789012345678901 path=a\n",
        ] {
            assert_eq!(read(records.as_bytes()), Err(PaxError::Record), "{records}");
        }
        for records in
            ["11 size=-1\n", "11 size=+1\n", "13 mtime=1e9\n", "12 mtime=.x\n", "29 size=18446744073709551616\n"]
        {
            assert!(matches!(read(records.as_bytes()), Err(PaxError::Number(_))), "{records}");
        }
    }

    #[test]
    fn a_time_before_1970_is_one() {
        let of = |text: &str| timestamp(text.as_bytes()).unwrap().unwrap();
        assert_eq!(of("-1"), Timestamp { seconds: -1, nanoseconds: 0 });
        assert_eq!(of("-1.25"), Timestamp { seconds: -2, nanoseconds: 750_000_000 });
        assert_eq!(of("1.0000000019"), Timestamp { seconds: 1, nanoseconds: 1 });
    }
}
