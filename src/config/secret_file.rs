//! Who may use a secret's file: its owner, who is us or root, and nobody else. Facts in, a sentence with its remedy out.

use std::path::Path;

/// Folders whose files a supervisor protects: systemd's credentials and the secrets of containers, which may be links.
const PROTECTED: &[&str] = &["/run/secrets", "/var/run/secrets", "/run/credentials"];

/// What is known of a file, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// User id of the owner.
    pub owner: u32,
    /// Id of its group.
    pub group: u32,
    /// The permission bits.
    pub mode: u32,
    /// Our user id.
    pub user: u32,
    /// Whether its group is one of ours.
    pub is_our_group: bool,
}

/// Whether somebody else sees to it that only the right ones can use the file.
pub fn is_protected(path: &Path) -> bool {
    // Credentials of a unit of a user: /run/user/1000/credentials/unit/NAME.
    let of_user =
        path.strip_prefix("/run/user").is_ok_and(|rest| rest.iter().nth(1).is_some_and(|it| it == "credentials"));
    of_user || PROTECTED.iter().any(|folder| path.starts_with(folder))
}

/// Why the file is not used, and the command that changes that; `None`: it is used.
pub fn refusal(path: &Path, access: Access) -> Option<String> {
    let Access { owner, group, mode, user, is_our_group } = access;
    let is_strange = owner != user && owner != 0;
    // A package installs secrets as root's, readable by the group of the service; root may look at them.
    let may_share = owner == 0 && (is_our_group || user == 0);
    if !is_strange && mode & if may_share { 0o037 } else { 0o077 } == 0 {
        return None;
    }
    let path = quoted(path);
    let (shares, mode) = (may_share && group != 0 && mode & 0o040 != 0, mode & 0o777);
    let sudo = if owner == user { "" } else { "sudo " };
    let remedy = match (shares, owner == user) {
        (true, _) => format!("{sudo}chmod 640 {path}"),
        (false, true) => format!("chmod 600 {path}"),
        (false, false) => format!("sudo chown {user} {path} && sudo chmod 600 {path}"),
    };
    let problem = if is_strange { "belongs to another user" } else { "others than its owner can use" };
    Some(format!("{problem} (user id {owner}, mode {mode:03o}): {remedy}"))
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:,".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_modes_and_remedies() {
        const USER: u32 = 1000;
        for (owner, group, mode, want) in [
            (USER, 5, 0o600, None),
            (USER, 5, 0o400, None),
            (0, USER, 0o640, None),
            (0, 5, 0o600, None),
            (USER, USER, 0o640, Some("chmod 600 /s/key")),
            (USER, 5, 0o602, Some("chmod 600 /s/key")),
            (0, USER, 0o644, Some("sudo chmod 640 /s/key")),
            (0, USER, 0o660, Some("sudo chmod 640 /s/key")),
            (0, USER, 0o604, Some("sudo chown 1000 /s/key && sudo chmod 600 /s/key")),
            (0, 5, 0o640, Some("sudo chown 1000 /s/key && sudo chmod 600 /s/key")),
            (1001, USER, 0o600, Some("sudo chown 1000 /s/key && sudo chmod 600 /s/key")),
        ] {
            let access = Access { owner, group, mode: 0o100_000 | mode, user: USER, is_our_group: group == USER };
            let found = refusal(Path::new("/s/key"), access);
            assert_eq!(found.as_deref().and_then(|text| text.split_once("): ")).map(|(_, remedy)| remedy), want);
        }
    }

    #[test]
    fn root_may_look_at_what_a_service_shares_with_its_group() {
        let access = |mode| Access { owner: 0, group: 5, mode, user: 0, is_our_group: false };
        assert_eq!(refusal(Path::new("k"), access(0o640)), None);
        let found = refusal(Path::new("/my keys/it's"), access(0o644)).expect("refused");
        assert!(found.ends_with(r": chmod 640 '/my keys/it'\''s'"), "{found}");
    }

    #[test]
    fn folders_of_supervisors_are_known_by_their_path() {
        let protected = |path| is_protected(Path::new(path));
        assert!(protected("/run/secrets/key") && protected("/run/credentials/rusty-pinch.service/KEY"));
        assert!(protected("/run/user/1000/credentials/unit/KEY"));
        assert!(
            !protected("/run/secrets-of-mine/key") && !protected("/run/user/1000/key") && !protected("run/secrets/key")
        );
    }
}
