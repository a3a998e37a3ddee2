//! Who we are, and whose the data folder is. A command of another user would leave files behind that the worker cannot
//! write to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::sys::files;

/// Users by number.
const USERS: &str = "/etc/passwd";

/// Larger than any list of users of a machine of ours.
const USERS_BYTES_MAX: u64 = 1 << 20;

/// Our effective user id.
pub fn own_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Our effective group id.
pub fn own_group() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Whether a group is one of ours.
pub fn is_own_group(id: u32) -> bool {
    let others = || rustix::process::getgroups().unwrap_or_default();
    own_group() == id || others().iter().any(|group| group.as_raw() == id)
}

/// The user whose conversations are kept in `data`, if that is somebody else. A folder that was made for us, as
/// containers do, becomes ours with the first conversation.
pub fn stranger_to(data: &Path) -> Option<u32> {
    let known = fs::metadata(data.join("sessions")).or_else(|_| fs::metadata(data)).ok()?;
    (known.uid() != own_id()).then(|| known.uid())
}

/// The user and group of the folder, or of the nearest one above it that is there: whose service uses it. `None`: we are that
/// user, or could not become them.
pub fn service_of(folder: &Path) -> Option<(u32, u32)> {
    let known = folder.ancestors().find_map(|folder| fs::metadata(folder).ok())?;
    (own_id() == 0 && known.uid() != 0).then(|| (known.uid(), known.gid()))
}

/// A user's name; `#` and the number without one, which `sudo -u` understands as well.
pub fn name(id: u32) -> String {
    field(id, 0).unwrap_or_else(|| format!("#{id}"))
}

/// A user's home.
pub fn home(id: u32) -> Option<String> {
    field(id, 5)
}

/// One of the fields of a user's line, counting from 0.
fn field(id: u32, number: usize) -> Option<String> {
    let users = files::read_bounded(Path::new(USERS), USERS_BYTES_MAX).map(|(bytes, _)| bytes).unwrap_or_default();
    let users = String::from_utf8_lossy(&users);
    let line = users.lines().find(|line| line.split(':').nth(2).is_some_and(|field| field.parse() == Ok(id)))?;
    line.split(':').nth(number).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_and_missing_ones_their_number() {
        assert_eq!((name(0).as_str(), home(0).as_deref()), ("root", Some("/root")));
        assert_eq!(name(4_000_000_000), "#4000000000");
    }

    #[test]
    fn what_we_made_is_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(stranger_to(folder.path()), None);
        assert_eq!(stranger_to(&folder.path().join("none")), None);
    }
}
