//! The index of a directory.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use askama::Template;
use mtls_core::page::{Document, Tone};
use mtls_core::tower::Media;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;

use crate::printable::printable_line;

/// The maximum number of entries in a listing.
const MOST: usize = 10_000;

/// Characters that need no encoding in a relative reference (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The entries of a directory that clients can fetch: files, directories, and symbolic links to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    entries: Vec<Entry>,
    /// The directory has more entries.
    cut: bool,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    /// The name in a reference.
    reference: String,
    /// In bytes; `None` for a directory.
    size: Option<u64>,
    modified: Option<SystemTime>,
}

impl Listing {
    /// Reads a directory; with `hidden`, names that begin with a dot too. Blocks.
    pub(crate) fn read(dir: &Path, hidden: bool) -> io::Result<Self> {
        let mut entries = Vec::new();
        let mut cut = false;
        for found in fs::read_dir(dir)? {
            let Ok(found) = found else { continue };
            // Clients cannot fetch other names.
            let Ok(name) = found.file_name().into_string() else {
                continue;
            };
            if name.contains('\\') || (name.starts_with('.') && !hidden) {
                continue;
            }
            // Of the target of a link.
            let Ok(metadata) = fs::metadata(found.path()) else {
                continue;
            };
            let Some(entry) = Entry::new(&name, &metadata) else {
                continue;
            };
            if entries.len() == MOST {
                cut = true;
                break;
            }
            entries.push(entry);
        }
        entries.sort_by_cached_key(|entry| {
            (
                entry.size.is_some(),
                entry.name.to_lowercase(),
                entry.name.clone(),
            )
        });
        Ok(Self { entries, cut })
    }

    /// The page about the directory `path`, which is percent-decoded and begins and ends with a slash.
    pub(crate) fn render(&self, path: &str, media: Media) -> String {
        match media {
            Media::Html => {
                let title = format_args!("Index of {path}");
                Document::new(title, Tone::Plain, IndexHtml::new(self, path)).to_string()
            }
            _ => AsText(self).to_string(),
        }
    }
}

impl Entry {
    /// `None` for sockets, devices and the like.
    fn new(name: &str, metadata: &Metadata) -> Option<Self> {
        let is_dir = metadata.is_dir();
        if !(is_dir || metadata.is_file()) {
            return None;
        }
        let slash = if is_dir { "/" } else { "" };
        Some(Self {
            name: format!("{name}{slash}"),
            // Without `./` a name with a colon would read as a scheme.
            reference: format!("./{}{slash}", utf8_percent_encode(name, UNRESERVED)),
            size: (!is_dir).then_some(metadata.len()),
            modified: metadata.modified().ok(),
        })
    }

    fn readable_size(&self) -> Option<Size> {
        self.size.map(Size)
    }

    fn date(&self) -> Date {
        Date(self.modified)
    }
}

struct AsText<'a>(&'a Listing);

impl fmt::Display for AsText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.0.entries {
            // A name with a line break must not look like two names.
            let name = printable_line(&entry.name);
            let size = entry.size.map_or_else(String::new, |size| size.to_string());
            writeln!(f, "{:16}  {size:>14}  {name}", entry.date().to_string())?;
        }
        if self.0.cut {
            writeln!(f, "(only the first {MOST} entries)")?;
        }
        Ok(())
    }
}

/// The body of the HTML document.
#[derive(Template)]
#[template(path = "index.html")]
struct IndexHtml<'a> {
    listing: &'a Listing,
    /// The reference to the root directory; empty in that directory.
    root: String,
    /// The parts of the path, each with the reference to it; empty for the last one.
    crumbs: Vec<(&'a str, String)>,
}

impl<'a> IndexHtml<'a> {
    fn new(listing: &'a Listing, path: &'a str) -> Self {
        let parts = path.split('/').filter(|part| !part.is_empty());
        let depth = parts.clone().count();
        let up = |index| "../".repeat(depth - 1 - index);
        Self {
            listing,
            root: "../".repeat(depth),
            crumbs: parts
                .enumerate()
                .map(|(index, part)| (part, up(index)))
                .collect(),
        }
    }
}

/// A size in bytes, with a unit.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut size = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // A size that would be rounded to 1024 belongs to the next unit.
        while size >= 1023.95 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        write!(f, "{size:.1} {}", UNITS[unit])
    }
}

/// A time in UTC, to the minute; empty if it is unknown.
struct Date(Option<SystemTime>);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        let seconds = self.0.and_then(since).map(|since| since.as_secs());
        let date = seconds
            .and_then(|seconds| i64::try_from(seconds).ok())
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        let Some(date) = date else { return Ok(()) };
        write!(
            f,
            "{:04}-{:02}-{:02} {:02}:{:02}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            date.hour(),
            date.minute()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::time::Duration;
    use tempfile::TempDir;

    fn names(dir: &TempDir, hidden: bool) -> Vec<String> {
        let listing = Listing::read(dir.path(), hidden).expect("a listing");
        listing
            .entries
            .into_iter()
            .map(|entry| entry.name)
            .collect()
    }

    #[test]
    fn directories_come_first_and_hidden_files_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["b", "A", ".hidden", "c:d", "not\\fetched"] {
            File::create(dir.path().join(name)).expect("a file");
        }
        for name in ["z", ".git"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        symlink("z", dir.path().join("link")).expect("a link");
        symlink("nowhere", dir.path().join("broken")).expect("a link");
        assert_eq!(names(&dir, false), ["link/", "z/", "A", "b", "c:d"]);
        assert_eq!(
            names(&dir, true),
            [".git/", "link/", "z/", ".hidden", "A", "b", "c:d"]
        );
    }

    #[test]
    fn names_cannot_become_markup_or_other_references() {
        let dir = tempfile::tempdir().expect("a directory");
        let name = "\"><script>alert(1)<& ?#%2f";
        File::create(dir.path().join(name.replace('/', ""))).expect("a file");
        File::create(dir.path().join("javascript:ß\n")).expect("a file");
        File::create(dir.path().join(OsStr::from_bytes(b"not UTF-8 \xff"))).expect("a file");
        let listing = Listing::read(dir.path(), false).expect("a listing");
        let page = listing.render("/<b>/", Media::Html);
        assert!(!page.contains("<script>"), "{page}");
        assert!(!page.contains("<b>"), "{page}");
        assert!(
            page.contains("&#34;&#62;&#60;script&#62;alert(1)&#60;&#38; ?#%2f"),
            "{page}"
        );
        assert!(
            page.contains("href=\"./%22%3E%3Cscript%3Ealert%281%29%3C%26%20%3F%23%252f\""),
            "{page}"
        );
        assert!(page.contains("href=\"./javascript%3A%C3%9F%0A\""), "{page}");
        let text = listing.render("/", Media::Text);
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn every_part_of_the_path_leads_up() {
        let listing = Listing {
            entries: Vec::new(),
            cut: false,
        };
        let page = listing.render("/a/b/", Media::Html);
        assert!(
            page.contains(
                "<a href=\"../../\">/</a><a href=\"../\"><bdi>a</bdi></a>/<wbr><bdi>b</bdi>/</h1>"
            ),
            "{page}"
        );
    }

    #[test]
    fn sizes_and_dates_are_readable() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
        let at = |seconds| Date(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        assert_eq!(at(0).to_string(), "1970-01-01 00:00");
        assert_eq!(at(1_709_164_799).to_string(), "2024-02-28 23:59");
        assert_eq!(at(u64::MAX >> 1).to_string(), "");
        assert_eq!(Date(None).to_string(), "");
    }
}
