//! [`Notifier`]: what a service manager is told, in the protocol of `sd_notify(3)`: one datagram for each change. It never
//! waits, and nobody who could be told is no error.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The way to the service manager.
pub struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the variables NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID say. `None`: nobody wants to be told.
    pub fn new(socket: Option<&str>, watchdog_usec: Option<&str>, watchdog_pid: Option<&str>) -> Option<Notifier> {
        let name = socket.filter(|name| !name.is_empty())?;
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name.as_bytes()),
            None => SocketAddr::from_pathname(OsStr::from_bytes(name.as_bytes())),
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        let is_ours = watchdog_pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let usec = watchdog_usec.filter(|_| is_ours).and_then(|usec| usec.parse().ok()).filter(|usec| *usec > 0);
        Some(Notifier { socket, address: address.ok()?, watchdog: usec.map(Duration::from_micros) })
    }

    /// How often [`Notifier::alive`] is to be said: twice in the time that the service manager grants.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// The start is over, or a reload is.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// Every thread lives.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// A sentence for `systemctl status`.
    pub fn status(&self, sentence: &str) {
        self.send(&["STATUS=", &sentence.replace('\n', " ")].concat());
    }

    /// The settings are read again; [`Notifier::ready`] says when that is over.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, text: &str) {
        let _ = self.socket.send_to_addr(text.as_bytes(), &self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).expect("a datagram");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn every_change_is_one_datagram() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("bound");
        let notifier = Notifier::new(path.to_str(), Some("60000000"), None).expect("somebody listens");
        assert_eq!(notifier.alive_every(), Some(Duration::from_secs(30)));
        notifier.ready();
        notifier.status("telegram is\nready");
        notifier.alive();
        notifier.reloading();
        notifier.stopping();
        for want in ["READY=1", "STATUS=telegram is ready", "WATCHDOG=1"] {
            assert_eq!(received(&listener), want);
        }
        let reloading = received(&listener);
        let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("the time of the reload");
        assert!(usec.parse::<u64>().is_ok_and(|usec| usec > 0), "{usec}");
        assert_eq!(received(&listener), "STOPPING=1");
        drop(listener);
        notifier.ready();
    }

    #[test]
    fn abstract_names_are_understood_and_the_watchdog_of_another_process_is_not_ours() {
        let name = format!("rusty-pinch-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).expect("a name");
        let listener = UnixDatagram::bind_addr(&address).expect("bound");
        let notifier = Notifier::new(Some(&format!("@{name}")), Some("5000000"), Some("1")).expect("somebody listens");
        assert_eq!(notifier.alive_every(), None);
        notifier.ready();
        assert_eq!(received(&listener), "READY=1");
        for nobody in [None, Some("")] {
            assert!(Notifier::new(nobody, None, None).is_none());
        }
    }
}
