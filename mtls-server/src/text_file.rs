//! Short text files, such as configurations and passwords.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// The longest file. A device such as `/dev/zero` has no end.
const LONGEST: u64 = 16 << 20;

/// Reads a file of 16 MiB at most, which may be a FIFO.
pub(crate) fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        let problem = "it is longer than 16 MiB";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_refused() {
        let error = read_text("/dev/zero".as_ref()).expect_err("it has no end");
        assert!(error.to_string().contains("16 MiB"), "{error}");
    }

    #[test]
    fn a_file_of_other_bytes_is_refused_and_a_short_one_is_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), b"\xff").expect("to write");
        assert!(read_text(file.path()).is_err());
        std::fs::write(file.path(), "a\u{e4}\n").expect("to write");
        assert_eq!(*read_text(file.path()).expect("text"), "a\u{e4}\n");
    }
}
