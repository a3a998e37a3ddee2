//! A real ext4 on a loop device whose power can be cut: the shutdown ioctl drops everything that was not flushed, the file
//! system's own journal included; mounting it again is what a boot does.
//!
//! Needs root, loop devices and, for the ioctl, python3.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::support::cases::Random;
use crate::support::waiting::until;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, for each line with a mount point.
const CUTTER: &str = "
import fcntl, os, struct, sys
for line in sys.stdin:
    folder = os.open(line.rstrip(chr(10)), os.O_RDONLY)
    fcntl.ioctl(folder, 0x8004587D, struct.pack('I', 2))
    os.close(folder)
    print('cut', flush=True)
";

pub struct LoopDisk {
    device: String,
    mount: PathBuf,
    /// Holds the image, and goes last.
    _folder: TempDir,
}

impl LoopDisk {
    /// Mounted at a folder that exists. The error is the reason why there can be none here.
    pub fn create(mount: &Path, mebibytes: u64) -> Result<LoopDisk, String> {
        if !geteuid().is_root() {
            return Err("only root can mount a disk".to_string());
        }
        // In memory where that is possible: what a cut may lose is decided by ext4, not by what is below it.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder");
        let image = folder.path().join("image");
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(mebibytes << 20).map_err(|error| error.to_string())?;
        // No blocks are kept back for root, so that full is full.
        run("mkfs.ext4", &["-q", "-F", "-m", "0"], &image)?;
        let device = run("losetup", &["--find", "--show"], &image)?.trim().to_string();
        let disk = LoopDisk { device, mount: mount.to_path_buf(), _folder: folder };
        disk.mount()?;
        Ok(disk)
    }

    pub fn mount(&self) -> Result<(), String> {
        run("mount", &["-t", "ext4", &self.device], &self.mount)?;
        Ok(())
    }

    /// Whoever writes to it waits as long as this value lives.
    pub fn freeze(&self) -> Result<Frozen<'_>, String> {
        run("fsfreeze", &["--freeze"], &self.mount)?;
        Ok(Frozen(self))
    }

    /// Waits until the kernel has let go of it: a process that is just ending may still hold it.
    pub fn unmount(&self) {
        until("the disk can be unmounted", || run("umount", &[], &self.mount).is_ok());
        let name = self.device.trim_start_matches("/dev/");
        let known = Path::new("/sys/fs/ext4").join(name);
        until("the kernel lets go of the disk", || !known.exists());
    }
}

/// Nobody who waits for it can even be killed, so it has to go before the process does.
pub struct Frozen<'a>(&'a LoopDisk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = run("fsfreeze", &["--unfreeze"], &self.0.mount);
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy"], &self.mount);
        let _ = run("losetup", &["--detach"], Path::new(&self.device));
    }
}

fn run(program: &str, arguments: &[&str], last: &Path) -> Result<String, String> {
    let output = Command::new(program).args(arguments).arg(last).output();
    let output = output.map_err(|error| format!("{program} cannot be started ({error})"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// What makes the call that cuts the power; started once, because starting it takes longer than a life of the worker.
pub struct Cutter {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Cutter {
    pub fn start() -> Result<Cutter, String> {
        let mut python = Command::new("python3");
        python.args(["-c", CUTTER]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = python.spawn().map_err(|error| format!("python3 cannot be started ({error})"))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("python3 has no pipes".to_string());
        };
        Ok(Cutter { child, orders, answers: BufReader::new(answers) })
    }

    /// The error is the reason why this kernel or this user cannot.
    pub fn cut(&mut self, disk: &LoopDisk) -> Result<(), String> {
        let line = format!("{}\n", disk.mount.display());
        let mut answer = String::new();
        let told = self.orders.write_all(line.as_bytes()).and_then(|()| self.answers.read_line(&mut answer));
        match (told, answer.as_str()) {
            (Ok(_), "cut\n") => Ok(()),
            _ => Err("the ext4 of this kernel cannot be shut down".to_string()),
        }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kernel's boot id as one process and its children see it: a file of ours, mounted over the kernel's in a mount
/// namespace of its own. The product reads what it always reads.
pub struct Boot {
    folder: TempDir,
}

impl Boot {
    /// The error is the reason why there can be no other boot id here.
    pub fn new(random: &mut Random) -> Result<Boot, String> {
        let boot = Boot { folder: tempfile::tempdir().expect("a temporary folder") };
        boot.again(random);
        let mut words = boot.prefix();
        words.push("true".into());
        let output = Command::new(&words[0]).args(&words[1..]).output();
        let output = output.map_err(|error| format!("unshare cannot be started ({error})"))?;
        match output.status.success() {
            true => Ok(boot),
            false => Err(format!("unshare: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("boot_id")
    }

    /// Another boot.
    pub fn again(&self, random: &mut Random) {
        let (high, low) = (random.next(), random.next());
        let digits = format!("{high:016x}{low:016x}");
        let id = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-");
        std::fs::write(self.file(), id + "\n").expect("the folder is ours");
    }

    /// The words that start a process of this boot.
    pub fn prefix(&self) -> Vec<OsString> {
        let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
        let words = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script];
        words.iter().map(OsString::from).chain([self.file().into()]).collect()
    }
}
