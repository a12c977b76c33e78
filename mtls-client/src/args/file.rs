//! Small files that are named on the command line.

use std::fs::File;
use std::io::{self, Read};

/// The text of a file, or of standard input (`-`), of at most `longest` bytes.
pub(crate) fn read(path: &str, longest: u64) -> io::Result<String> {
    let mut text = String::new();
    let length = match path {
        "-" => io::stdin().take(longest + 1).read_to_string(&mut text),
        path => File::open(path)?
            .take(longest + 1)
            .read_to_string(&mut text),
    }?;
    match length as u64 > longest {
        true => Err(io::Error::other(format!("longer than {longest} bytes"))),
        false => Ok(text),
    }
}
