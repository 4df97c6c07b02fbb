use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use dormouse_spec::Digest;
use sha2::{Digest as _, Sha256};

/// Read and hashed at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The sha256 of a file's content. Blocks.
///
/// # Errors
/// Where it cannot be read.
pub fn file_digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(Digest::from_sha256(hasher.finalize().into())),
            Ok(bytes) => hasher.update(chunk.get(..bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_the_sha256_of_all_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![b'a'; 1_000_000]).unwrap();
        let digest = "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        assert_eq!(file_digest(file.path()).unwrap().to_string(), digest);
    }
}
