//! A limit of the kernel that many pods share, and how its error is told.

use std::io;

use nix::errno::Errno;

/// The same error, and where it is ENOSPC what that means for sockets and timers: nothing is wrong with a disk. All watches
/// that epoll(7) grants this user are taken (`fs.epoll.max_user_watches`), perhaps by another pod of the node, for the kernel
/// counts them for a UID and not for a container.
#[must_use]
pub fn explained(error: io::Error) -> io::Error {
    if error.raw_os_error().map(Errno::from_raw) != Some(Errno::ENOSPC) {
        return error;
    }
    let meaning =
        "every watch that fs.epoll.max_user_watches grants this user on this machine is taken, perhaps by another pod";
    io::Error::new(error.kind(), format!("{error}: {meaning}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_space_is_explained() {
        let none_left = explained(io::Error::from_raw_os_error(Errno::ENOSPC as i32));
        assert!(none_left.to_string().starts_with("No space left on device"), "{none_left}");
        assert!(none_left.to_string().contains("fs.epoll.max_user_watches"), "{none_left}");
        assert_eq!(none_left.kind(), io::ErrorKind::StorageFull);
        let other = explained(io::Error::from_raw_os_error(Errno::EMFILE as i32));
        assert_eq!(other.raw_os_error(), Some(Errno::EMFILE as i32));
    }
}
