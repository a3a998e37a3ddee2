//! Runs lives over and over: once for every call at which the process dies, once for every image of each death.

use std::any::Any;
use std::collections::BTreeSet;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use super::judge::judge;
use super::life::Life;
use super::world::World;
use crate::support::cases::Random;
use crate::support::torn_disk::{Image, TornDisk};
use crate::support::waiting;

const THREADS: u64 = 2;
const OLD_BOOT: &str = "boot0";
const AGAIN_PER_MILLE: u64 = 250;

#[derive(Clone, Debug, Default)]
pub struct Count {
    pub points: usize,
    pub images: usize,
    /// The kinds of calls at which processes died.
    pub kinds: BTreeSet<&'static str>,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.points += other.points;
        self.images += other.images;
        self.kinds.extend(other.kinds);
    }
}

/// Where runs begin.
#[derive(Clone)]
pub struct Campaign {
    pub base: TornDisk,
    pub world: World,
    /// The first call that changes something at which the process dies.
    pub first: u64,
}

/// One process from its start until it has nothing to do, or until the disk refuses. Damage may be reported only as
/// long as nobody was promised anything: garbage in files that are just being created.
pub fn live(disk: &TornDisk, world: World, boot: &str) -> (World, Result<(), String>) {
    let promised = !world.receipted.is_empty();
    match Life::open(disk, world, boot) {
        Err(gone) => (gone.0, Err(gone.1.to_string())),
        Ok((mut life, opening)) => {
            let outcome = match opening.damage.filter(|_| promised) {
                Some(damage) => Err(format!("damage is reported: {damage}")),
                None => life.run().map_err(|error| error.to_string()),
            };
            (life.world, outcome)
        }
    }
}

impl Campaign {
    /// Dies at every call from the first to the last. At most `images_max` images of each are tried.
    pub fn every_crash(&self, last: u64, images_max: usize) -> Count {
        self.in_threads(move |campaign, thread| {
            let mut count = Count::default();
            for death in (campaign.first + thread..=last).step_by(THREADS as usize) {
                let Some((disk, world)) = campaign.dies_at(death) else { return count };
                count.points += 1;
                count.kinds.insert(disk.died_in());
                count.images += campaign.images(&disk, &world, death, images_max);
            }
            count
        })
    }

    /// `None`: the run was over before.
    fn dies_at(&self, death: u64) -> Option<(TornDisk, World)> {
        let disk = self.base.image(&Image::Killed);
        disk.die_at(death);
        let (world, outcome) = live(&disk, self.world.clone(), OLD_BOOT);
        if disk.is_gone() {
            return Some((disk, world));
        }
        outcome.expect("only a disk that is gone refuses");
        judge(&world, &world, &disk, None).unwrap_or_else(|wrong| panic!("without a crash: {wrong}"));
        None
    }

    fn images(&self, disk: &TornDisk, world: &World, death: u64, images_max: usize) -> usize {
        let mut random = Random::from_seed(self.world.random.seed ^ death);
        let mut images = disk.images(&mut random);
        while images.len() > images_max {
            images.remove(random.index(images.len()));
        }
        for image in &images {
            let verdict = self.recover(&disk.image(image), world, image).map(drop);
            let seed = self.world.random.seed;
            verdict.unwrap_or_else(|wrong| panic!("seed {seed}, death at call {death}, {image:?}: {wrong}"));
        }
        images.len()
    }

    /// The next process, until everything is quiet, and now and then one more that must find nothing to do.
    fn recover(&self, disk: &TornDisk, before: &World, image: &Image) -> Result<World, String> {
        self.recover_in(if image.is_power_cut() { "boot1" } else { OLD_BOOT }, disk, before, image)
    }

    fn recover_in(&self, boot: &str, disk: &TornDisk, before: &World, image: &Image) -> Result<World, String> {
        let run = || {
            let (world, outcome) = live(disk, before.after(image.is_power_cut()), boot);
            outcome?;
            judge(&world, before, disk, Some(image))?;
            if !world.random.clone().chance(AGAIN_PER_MILLE) {
                return Ok(world);
            }
            let (again, outcome) = live(&disk.image(&Image::Killed), world.clone(), boot);
            outcome?;
            let quiet = again.arrived.len() == world.arrived.len() && again.copies == world.copies;
            if quiet { Ok(world) } else { Err("the process after next found something to do".to_string()) }
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(message_of(panic.as_ref())))
    }

    /// Dies somewhere, then again at some call of what follows, then recovers.
    pub fn crashes_within_recovery(&self, tries: usize, random: &mut Random) -> Count {
        self.second_troubles(tries, random, |campaign, random, disk, world, boot, first| {
            let second = random.between(1, 12);
            disk.die_at(second);
            let (between, outcome) = live(disk, world, boot);
            if !disk.is_gone() {
                outcome.expect("only a disk that is gone refuses");
                return Ok(0);
            }
            let images = disk.images(random);
            for image in &images {
                let verdict = campaign.recover_again(&disk.image(image), &between, image, first);
                verdict.map_err(|wrong| format!("again at {second}, {image:?}: {wrong}"))?;
            }
            Ok(images.len())
        })
    }

    /// Dies somewhere, then one call of what follows fails.
    pub fn failures_within_recovery(&self, tries: usize, random: &mut Random) -> Count {
        self.second_troubles(tries, random, |campaign, random, disk, world, boot, first| {
            let call = random.between(1, 30);
            disk.fail_at(call, random.index(3));
            let (between, outcome) = live(disk, world, boot);
            let verdict = match outcome {
                Ok(()) => judge(&between, &between, disk, Some(first)),
                // What a flush that failed dropped is lost as by a power cut, in the same boot.
                Err(_) if disk.dropped() => {
                    let cut = Image::Prefix { changes: 0 };
                    campaign.recover_in(boot, &disk.image(&Image::Killed), &between, &cut).map(drop)
                }
                Err(_) => campaign.recover_again(&disk.image(&Image::Killed), &between, &Image::Killed, first),
            };
            verdict.map(|()| 1).map_err(|wrong| format!("then call {call} fails: {wrong}"))
        })
    }

    fn second_troubles(
        &self,
        tries: usize,
        random: &mut Random,
        trouble: impl Fn(&Campaign, &mut Random, &TornDisk, World, &str, &Image) -> Result<usize, String>,
    ) -> Count {
        let total = self.calls_of_a_run();
        let mut count = Count::default();
        for _ in 0..tries {
            let death = random.between(self.first, total);
            let Some((disk, world)) = self.dies_at(death) else { continue };
            let images = disk.images(random);
            let first = images[random.index(images.len())].clone();
            let boot = if first.is_power_cut() { "boot1" } else { OLD_BOOT };
            let (disk, world) = (disk.image(&first), world.after(first.is_power_cut()));
            let verdict = trouble(self, random, &disk, world, boot, &first);
            let seed = self.world.random.seed;
            count.points += 1;
            count.images +=
                verdict.unwrap_or_else(|wrong| panic!("seed {seed}, death at call {death}, {first:?}, {wrong}"));
        }
        count
    }

    fn recover_again(&self, disk: &TornDisk, before: &World, image: &Image, first: &Image) -> Result<(), String> {
        let boot = match (first.is_power_cut(), image.is_power_cut()) {
            (_, true) => "boot2",
            (true, false) => "boot1",
            (false, false) => OLD_BOOT,
        };
        // A mark may come from either crash.
        let worse = if first.is_power_cut() && !image.is_power_cut() { first } else { image };
        let (world, outcome) = live(disk, before.after(image.is_power_cut()), boot);
        outcome?;
        judge(&world, before, disk, Some(worse))
    }

    fn calls_of_a_run(&self) -> u64 {
        let disk = self.base.image(&Image::Killed);
        let (_, outcome) = live(&disk, self.world.clone(), OLD_BOOT);
        outcome.expect("nothing fails");
        disk.counts().0
    }

    /// Lives until the journal changes files, and dies at each call around that.
    pub fn around_the_switch(&self, images_all: usize) -> Count {
        let switch = self.call_of_the_switch();
        let around = Campaign { first: switch.saturating_sub(4).max(1), ..self.clone() };
        around.every_crash(switch + 5, (images_all / 10).max(2))
    }

    /// The first call after which the file that held the journal before the start is written to: a start begins the
    /// other one.
    fn call_of_the_switch(&self) -> u64 {
        let (mut low, mut high) = (1, self.calls_of_a_run());
        while low < high {
            let middle = low.midpoint(high);
            let disk = self.base.image(&Image::Killed);
            disk.die_at(middle + 1);
            live(&disk, self.world.clone(), OLD_BOOT).1.expect_err("it dies");
            let unchanged = disk.read("journal/a.jnl") == self.base.read("journal/a.jnl");
            (low, high) = if unchanged { (middle + 1, high) } else { (low, middle) };
        }
        low
    }

    /// A process has done all it had to do; then the power goes, and only what was flushed is there.
    fn then_a_power_cut(&self, disk: &TornDisk, world: &World) -> Result<(), String> {
        let cut = Image::Prefix { changes: 0 };
        self.recover(&disk.image(&cut), world, &cut).map(drop).map_err(|wrong| format!("then a power cut: {wrong}"))
    }

    /// Fails at every call once; a process that ends over it is followed by another, in the same boot or after a power
    /// cut. In the end the power goes.
    pub fn every_failure(&self, ways: usize) -> Count {
        self.in_threads(move |campaign, thread| {
            let mut count = Count::default();
            for call in (1 + thread..).step_by(THREADS as usize) {
                for way in 0..ways {
                    // Of a write that fails, nothing, half or all may be there.
                    let halves = (call as usize + way) % 3;
                    let disk = campaign.base.image(&Image::Killed);
                    disk.fail_at(call, halves);
                    let (world, outcome) = live(&disk, campaign.world.clone(), OLD_BOOT);
                    if disk.counts().1 < call {
                        return count;
                    }
                    count.points += 1;
                    let verdict = match outcome {
                        Ok(()) => judge(&world, &world, &disk, Some(&Image::Killed))
                            .and_then(|()| campaign.then_a_power_cut(&disk, &world)),
                        Err(_) => campaign.then_a_power_cut(&disk, &world).and_then(|()| {
                            let next = disk.image(&Image::Killed);
                            // What a flush that failed dropped is lost as by a power cut, in the same boot.
                            let judged = if disk.dropped() { Image::Prefix { changes: 0 } } else { Image::Killed };
                            let world = campaign.recover_in(OLD_BOOT, &next, &world, &judged)?;
                            campaign.then_a_power_cut(&next, &world)
                        }),
                    };
                    let seed = campaign.world.random.seed;
                    verdict
                        .unwrap_or_else(|wrong| panic!("seed {seed}, call {call} fails ({halves}/2 written): {wrong}"));
                }
            }
            count
        })
    }

    /// Each flush fails once, in vain, and the power goes at some call of what follows in the same boot.
    pub fn failed_flushes_and_a_power_cut(&self, tries: usize, random: &mut Random) -> Count {
        let mut count = Count::default();
        for call in 1.. {
            let disk = self.base.image(&Image::Killed);
            disk.fail_at(call, 0);
            let (world, outcome) = live(&disk, self.world.clone(), OLD_BOOT);
            if disk.counts().1 < call {
                return count;
            }
            if outcome.is_ok() || !disk.dropped() {
                continue;
            }
            count.points += 1;
            for _ in 0..tries {
                let next = disk.image(&Image::Killed);
                let death = random.between(1, 12);
                next.die_at(death);
                let (world, _) = live(&next, world.after(true), OLD_BOOT);
                let images: Vec<Image> = next.images(random).into_iter().filter(Image::is_power_cut).collect();
                let image = &images[random.index(images.len())];
                let verdict = self.recover(&next.image(image), &world, image);
                let seed = self.world.random.seed;
                verdict.unwrap_or_else(|wrong| {
                    panic!("seed {seed}, flush {call} fails, death at call {death}, {image:?}: {wrong}")
                });
                count.images += 1;
            }
        }
        count
    }

    fn in_threads(&self, work: impl Fn(&Campaign, u64) -> Count + Send + Sync + 'static) -> Count {
        let total = Arc::new(Mutex::new(Count::default()));
        let work = Arc::new(work);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (campaign, total, work) = (self.clone(), Arc::clone(&total), Arc::clone(&work));
                waiting::spawn("campaign", move || {
                    let count = work(&campaign, thread);
                    *waiting::lock(&total) += count;
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| panic!("{}", message_of(panic.as_ref())));
        }
        waiting::lock(&total).clone()
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string())).unwrap_or_default()
}
