//! What the service manager is told, through a real socket: when the start is over, how things are, that every thread
//! lives, and that it does not say so when one does not.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::cases::say;
use crate::support::loop_disk::LoopDisk;
use crate::support::scene::Scene;
use crate::support::telegram_script::Fault;
use crate::support::waiting::{CEILING, lock, spawn, until, until_within};

/// A service manager's end.
struct Manager {
    said: Arc<Mutex<Vec<String>>>,
}

impl Manager {
    fn listen(scene: &mut Scene) -> Manager {
        let path = scene.world.path("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        scene.world.set("NOTIFY_SOCKET", &path.to_string_lossy());
        scene.world.set("WATCHDOG_USEC", "1000000");
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&said);
        // The thread ends with the test's process.
        spawn("service manager", move || {
            let mut bytes = [0; 1024];
            while let Ok(length) = socket.recv(&mut bytes) {
                lock(&kept).push(String::from_utf8_lossy(&bytes[..length]).into_owned());
            }
        });
        Manager { said }
    }

    fn said(&self, start: &str) -> usize {
        lock(&self.said).iter().filter(|said| said.starts_with(start)).count()
    }

    #[track_caller]
    fn until_said(&self, what: &str) {
        until_within(&format!("{what} is said"), CEILING, || self.said(what) > 0);
    }
}

#[test]
fn a_service_manager_is_told_of_start_reload_and_end() {
    let mut scene = Scene::new("service manager");
    let manager = Manager::listen(&mut scene);
    let process = scene.start_polling();
    manager.until_said("READY=1");
    manager.until_said("STATUS=telegram: ready");
    let pings = manager.said("WATCHDOG=1");
    until("it says twice that every thread lives", || manager.said("WATCHDOG=1") >= pings + 2);
    let ready = manager.said("READY=1");
    process.signal(Signal::HUP);
    until("the reload is over", || manager.said("READY=1") > ready);
    assert_eq!(manager.said("RELOADING=1\nMONOTONIC_USEC="), 1);
    scene.stop(process);
    manager.until_said("STOPPING=1");
}

#[test]
fn what_only_a_person_can_mend_is_told_and_does_not_keep_the_start_from_being_over() {
    let mut scene = Scene::new("parked service");
    let manager = Manager::listen(&mut scene);
    scene.telegram.fault(Fault::status(401, "Unauthorized"));
    let process = scene.start();
    manager.until_said("READY=1");
    manager.until_said("STATUS=telegram: not ready: auth");
    let pings = manager.said("WATCHDOG=1");
    until("it lives", || manager.said("WATCHDOG=1") >= pings + 2);
    scene.stop(process);
}

#[test]
fn a_parked_configuration_is_up_for_the_service_manager() {
    let mut scene = Scene::new("parked configuration");
    let manager = Manager::listen(&mut scene);
    scene.world.set("RUSTY_PINCH_ON_FATAL", "park");
    scene.world.set("RUSTY_PINCH_WORKERS", "many");
    let mut process = scene.start();
    manager.until_said("READY=1");
    manager.until_said("STATUS=parked");
    until("it lives", || manager.said("WATCHDOG=1") >= 3);
    process.terminate_when_it_heeds();
    assert_eq!(process.wait_within(CEILING).code(), Some(0));
}

/// The disk of the data folder stands still (`fsfreeze`), so the writer does not come back: nobody may say that every thread
/// lives, and everybody who asks is told. When the disk goes on, so does the worker, and nothing is lost.
#[test]
fn a_wedged_thread_silences_the_watchdog_until_it_comes_back() {
    let mut scene = Scene::new("wedged writer");
    let manager = Manager::listen(&mut scene);
    let disk = match LoopDisk::create(&scene.world.data(), 96) {
        Ok(disk) => disk,
        Err(reason) => return say(&format!("skip: {reason}")),
    };
    let process = scene.start_polling();
    manager.until_said("STATUS=telegram: ready");
    let frozen = match disk.freeze() {
        Ok(frozen) => frozen,
        Err(reason) => return say(&format!("skip: {reason}")),
    };
    scene.telegram.say(42, "hello");
    until_within("the writer is missed", Duration::from_secs(30), || {
        manager.said("STATUS=telegram: not ready: wedged") > 0
    });
    let pings = manager.said("WATCHDOG=1");
    assert_eq!(process.until_event("threads_overdue")["threads"][0], "writer");
    assert_eq!(scene.world.run(&["health", "--channel", "telegram"]).code, Some(1));
    drop(frozen);
    until("every thread lives again", || manager.said("WATCHDOG=1") > pings);
    scene.until_answered();
    scene.stop(process);
    disk.unmount();
}
