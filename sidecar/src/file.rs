//! Reads the files that people name in settings and policies: regular ones, up to a limit. Never waits for a writer, and
//! never takes more into memory than the limit.

use std::fs::{FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// As much as any file of certificates, hosts or name servers may have, in bytes.
pub const LIMIT: usize = 4 << 20;

/// The content of the regular file at `path`, which has at most `limit` bytes. Links are followed.
///
/// # Errors
/// What the system says; what the file is if it is not a regular one; and the limit if it is larger. The path is for the
/// caller to name.
pub fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    // Without O_NONBLOCK the opening of a FIFO waits for its writer.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}, not a regular file", name(kind))));
    }
    let mut content = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut content)?;
    if content.len() > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes")));
    }
    Ok(content)
}

/// As [`read`], for text.
///
/// # Errors
/// As [`read`]'s, and where the content is not UTF-8.
pub fn read_text(path: &Path, limit: usize) -> io::Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

fn name(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::Mode;

    use super::*;

    fn error(path: &Path) -> String {
        read(path, 8).unwrap_err().to_string()
    }

    #[test]
    fn a_regular_file_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::write(&path, "12345678").unwrap();
        assert_eq!(read(&link, 8).unwrap(), b"12345678");
        assert_eq!(read_text(&path, 8).unwrap(), "12345678");
        fs::write(&path, "123456789").unwrap();
        assert_eq!(error(&path), "it has more than 8 bytes");
    }

    #[test]
    fn what_is_no_regular_file_is_named_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        assert_eq!(error(&fifo), "it is a FIFO, not a regular file");
        assert_eq!(error(dir.path()), "it is a directory, not a regular file");
        assert_eq!(error(Path::new("/dev/zero")), "it is a device, not a regular file");
    }

    #[test]
    fn a_missing_file_and_one_without_text_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(read(&path, 8).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_text(&path, 8).unwrap_err().to_string(), "it is not text in UTF-8");
    }
}
