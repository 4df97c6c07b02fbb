//! One entry of a layer's archive. Nothing in it is checked: names may lead anywhere.

use std::io::{self, Write};

use tar::{EntryType, Header};

const BLOCK_BYTES: usize = 512;
/// Where a header has its name, and that of a link's target; longer ones are told by a pax record.
const NAME: std::ops::Range<usize> = 0..100;
const TARGET: std::ops::Range<usize> = 157..257;

#[derive(Debug, Clone)]
pub struct Entry {
    header: Header,
    path: Vec<u8>,
    target: Vec<u8>,
    content: Content,
    pax: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum Content {
    Bytes(Vec<u8>),
    /// So many zero bytes, which are held nowhere.
    Zeros(u64),
}

impl Entry {
    /// One of any type, of mode 0644, of root, of 1970 and empty.
    #[must_use]
    pub fn of_type(kind: EntryType, path: impl AsRef<[u8]>) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let (path, content) = (path.as_ref().to_vec(), Content::Bytes(Vec::new()));
        Self { header, path, target: Vec::new(), content, pax: Vec::new() }.size(0)
    }

    #[must_use]
    pub fn directory(path: impl AsRef<[u8]>) -> Self {
        Self::of_type(EntryType::Directory, path).mode(0o755)
    }

    #[must_use]
    pub fn file(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref().to_vec();
        let size = content.len() as u64;
        Self { content: Content::Bytes(content), ..Self::of_type(EntryType::Regular, path) }.size(size)
    }

    /// A file of so many bytes, all of which are zero.
    #[must_use]
    pub fn zeros(path: impl AsRef<[u8]>, bytes: u64) -> Self {
        Self { content: Content::Zeros(bytes), ..Self::of_type(EntryType::Regular, path) }.size(bytes)
    }

    #[must_use]
    pub fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::of_type(EntryType::Symlink, path).target(target).mode(0o777)
    }

    #[must_use]
    pub fn hardlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::of_type(EntryType::Link, path).target(target)
    }

    #[must_use]
    pub fn fifo(path: impl AsRef<[u8]>) -> Self {
        Self::of_type(EntryType::Fifo, path)
    }

    #[must_use]
    pub fn character_device(path: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self::of_type(EntryType::Char, path).device(major, minor)
    }

    #[must_use]
    pub fn block_device(path: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self::of_type(EntryType::Block, path).device(major, minor)
    }

    /// What hides this path of the layers below.
    #[must_use]
    pub fn whiteout(path: &str) -> Self {
        let (parent, name) =
            path.rsplit_once('/').map_or((String::new(), path), |(parent, name)| (format!("{parent}/"), name));
        Self::file(format!("{parent}.wh.{name}"), "")
    }

    /// What hides everything that the layers below have in this directory.
    #[must_use]
    pub fn opaque(directory: &str) -> Self {
        Self::file(format!("{directory}/.wh..wh..opq"), "")
    }

    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.header.set_mode(mode);
        self
    }

    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.header.set_uid(uid);
        self.header.set_gid(gid);
        self
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn modified(mut self, seconds: u64) -> Self {
        self.header.set_mtime(seconds);
        self
    }

    /// A record of the extended header before it.
    #[must_use]
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    #[must_use]
    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    /// The size that its header claims, whatever follows.
    #[must_use]
    pub fn size(mut self, claimed: u64) -> Self {
        self.header.set_size(claimed);
        self
    }

    #[must_use]
    pub fn target(mut self, target: impl AsRef<[u8]>) -> Self {
        self.target = target.as_ref().to_vec();
        self
    }

    fn device(mut self, major: u32, minor: u32) -> Self {
        self.header.set_device_major(major).unwrap();
        self.header.set_device_minor(minor).unwrap();
        self
    }

    pub(super) fn write(mut self, archive: &mut impl Write) -> io::Result<()> {
        for (key, name, field) in [("path", &self.path, NAME), ("linkpath", &self.target, TARGET)] {
            if name.len() > field.len() {
                self.pax.push((key.to_owned(), name.clone()));
            }
            let fitting = &name[..name.len().min(field.len())];
            self.header.as_mut_bytes()[field][..fitting.len()].copy_from_slice(fitting);
        }
        self.header.set_cksum();
        if !self.pax.is_empty() {
            let records: Vec<u8> = self.pax.iter().flat_map(|(key, value)| record(key, value)).collect();
            let extended =
                Self { content: Content::Bytes(records.clone()), ..Self::of_type(EntryType::XHeader, "pax") };
            extended.size(records.len() as u64).write(archive)?;
        }
        archive.write_all(self.header.as_bytes())?;
        self.content.write(archive)
    }
}

impl Content {
    fn write(&self, archive: &mut impl Write) -> io::Result<()> {
        let length = match self {
            Self::Bytes(bytes) => {
                archive.write_all(bytes)?;
                bytes.len() as u64
            }
            Self::Zeros(bytes) => io::copy(&mut io::Read::take(io::repeat(0), *bytes), archive)?,
        };
        let padding = length.next_multiple_of(BLOCK_BYTES as u64) - length;
        archive.write_all(&[0; BLOCK_BYTES][..padding as usize])
    }
}

/// `LENGTH KEY=VALUE\n`, the length being that of all of it.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [format!(" {key}=").as_bytes(), value, b"\n"].concat();
    let with_digits = |length: usize| rest.len() + length.to_string().len();
    let length = with_digits(with_digits(rest.len()));
    [length.to_string().as_bytes(), &rest].concat()
}
