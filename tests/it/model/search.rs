//! Every state that can be reached, breadth first, so that the trace to a wrong one is as short as any.
//!
//! When nothing wrong was met it is asked, backwards, whether every state can still come to a good end when nothing fails
//! any more: a run that goes round in circles, or stands still with a message unanswered, never shows anything wrong.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::Setting;
use super::ledgers::{ImageId, Images, Ledgers, Left, NodeId};
use super::meaning::Lines;
use super::process::{Process, Step};
use super::sender::Luck;
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    Kill,
    /// The power cut that leaves so much of each file.
    Power(Left),
}

/// What happened between two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Start,
    Did(Step),
    Crashed(Crash),
    /// Within a step, behind so many calls of the disk.
    CrashedIn(Step, usize, Crash),
    CrashedInStart(usize, Crash),
}

impl Event {
    fn is_trouble(self) -> bool {
        match self {
            Event::Start => false,
            Event::Did(Step::Post(_, luck)) => luck != Luck::Answered,
            Event::Did(step) => matches!(step, Step::PollLost | Step::Again(_)),
            Event::Crashed(_) | Event::CrashedIn(..) | Event::CrashedInStart(..) => true,
        }
    }
}

#[derive(Clone)]
enum Machine {
    Off(ImageId),
    On(Box<Process>),
}

#[derive(Clone)]
struct State {
    machine: Machine,
    world: World,
    crashes_left: u8,
    faults_left: u8,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub states: usize,
    pub steps: usize,
    pub ends: usize,
    /// Different orders of events that lead to an end. At least: of what leads back to an earlier state nothing is
    /// counted, nor is a crash that was looked at in another order.
    pub schedules: f64,
    /// Different states of the ledger, and of a disk without a process.
    pub ledgers: usize,
    pub images: usize,
    /// How often a journal changed files in one run, at most.
    pub changes: u32,
    /// What is wrong, and how it comes about.
    pub wrong: Option<(String, Vec<Event>)>,
}

pub struct Search {
    setting: Rc<Setting>,
    ledgers: Ledgers,
    known: HashMap<Box<[u8]>, u32>,
    /// Where each state was first reached from.
    from: Vec<(u32, Event)>,
    /// In how many orders of events each state is reached.
    orders: Vec<f64>,
    /// Crashes and faults left out.
    steps: Vec<(u32, u32)>,
    /// Crashes that were looked at: nothing else of a state outlives one.
    crashed: HashSet<(NodeId, Option<Step>, World, u8)>,
    ends: Vec<u32>,
    frontier: VecDeque<(u32, State)>,
}

/// A step that went wrong, or led somewhere.
type Led = Result<(Event, State), (Option<Event>, String)>;

impl Search {
    pub fn run(setting: Setting) -> Verdict {
        let setting = Rc::new(setting);
        let mut search = Search {
            ledgers: Ledgers::new(Rc::clone(&setting)),
            known: HashMap::new(),
            from: Vec::new(),
            orders: Vec::new(),
            steps: Vec::new(),
            crashed: HashSet::new(),
            ends: Vec::new(),
            frontier: VecDeque::new(),
            setting,
        };
        let (crashes_left, faults_left) = (search.setting.crashes, search.setting.faults);
        search.reach(
            (0, Event::Start),
            State { machine: Machine::Off(0), world: World::default(), crashes_left, faults_left },
        );
        let wrong = search.explore().or_else(|| search.stuck());
        let (ledgers, images, changes) = search.ledgers.counts();
        Verdict {
            states: search.from.len(),
            steps: search.steps.len(),
            ends: search.ends.len(),
            schedules: search.ends.iter().map(|end| search.orders[*end as usize]).sum(),
            ledgers,
            images,
            changes,
            wrong,
        }
    }

    fn explore(&mut self) -> Option<(String, Vec<Event>)> {
        while let Some((number, state)) = self.frontier.pop_front() {
            for led in self.next(&state, number) {
                match led {
                    Ok((event, state)) => {
                        let to = self.reach((number, event), state);
                        // All that leads to `number` from before was counted: states are looked at in their order.
                        if to > number {
                            self.orders[to as usize] += self.orders[number as usize];
                        }
                        self.steps.extend((!event.is_trouble()).then_some((number, to)));
                    }
                    Err((event, wrong)) => {
                        let mut trace = self.trace(number);
                        trace.extend(event);
                        return Some((wrong, trace));
                    }
                }
            }
        }
        None
    }

    fn reach(&mut self, from: (u32, Event), state: State) -> u32 {
        let key = state.key(&self.setting);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let number = u32::try_from(self.from.len()).expect("fewer states than that");
        self.known.insert(key, number);
        self.from.push(from);
        self.orders.push(if number == 0 { 1.0 } else { 0.0 });
        self.frontier.push_back((number, state));
        number
    }

    fn trace(&self, mut number: u32) -> Vec<Event> {
        let mut trace = Vec::new();
        while number != 0 {
            let (from, event) = self.from[number as usize];
            trace.push(event);
            number = from;
        }
        trace.reverse();
        trace
    }

    /// A state from which no end can be reached, where a run has gone round in a circle.
    fn stuck(&self) -> Option<(String, Vec<Event>)> {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); self.from.len()];
        self.steps.iter().for_each(|(from, to)| before[*to as usize].push(*from));
        let good = back(&before, &self.ends);
        let first = u32::try_from(good.iter().position(|good| !good)?).ok()?;
        let mut circles = self.steps.iter().filter(|(from, to)| to <= from && !good[*from as usize]);
        let closes = |(from, to): &&(u32, u32)| back(&before, &[*from])[*to as usize];
        let at = circles.find(closes).map_or(first, |(from, _)| *from);
        Some(("no end can be reached: the run goes round in a circle".to_string(), self.trace(at)))
    }

    fn next(&mut self, state: &State, number: u32) -> Vec<Led> {
        match &state.machine {
            Machine::Off(image) => self.start(state, *image),
            Machine::On(process) => self.live(state, process, number),
        }
    }

    fn start(&mut self, state: &State, image: ImageId) -> Vec<Led> {
        let start = match self.ledgers.start(image) {
            Ok(start) => start,
            Err(wrong) => return vec![Err((None, wrong))],
        };
        let is_first = state.crashes_left == self.setting.crashes;
        let process = Process::start(&start, &self.setting, is_first);
        let mut led = vec![Ok((Event::Start, State { machine: Machine::On(Box::new(process)), ..state.clone() }))];
        if state.crashes_left > 0 {
            for (images, call) in start.within.iter().zip(1..) {
                led.extend(crashes(state, images, |crash| Event::CrashedInStart(call, crash)));
            }
        }
        led
    }

    fn live(&mut self, state: &State, process: &Process, number: u32) -> Vec<Led> {
        let steps = process.steps(&self.setting, &self.ledgers, &state.world, state.faults_left > 0);
        let mut led = Vec::new();
        if steps.iter().all(|step| Event::Did(*step).is_trouble()) {
            self.ends.push(number);
            led.extend(self.judge(state, process).err().map(|wrong| Err((None, wrong))));
        }
        for step in steps {
            self.step(state, process, step, &mut led);
        }
        if self.may_crash(state, process, None) {
            let images = self.ledgers.images(process.node);
            led.extend(crashes(state, &images, Event::Crashed));
        }
        led
    }

    /// Whether it may, and whether that was not looked at.
    fn may_crash(&mut self, state: &State, process: &Process, step: Option<Step>) -> bool {
        state.crashes_left > 0 && self.crashed.insert((process.node, step, state.world, state.budget()))
    }

    fn step(&mut self, state: &State, process: &Process, step: Step, led: &mut Vec<Led>) {
        let (mut next, mut world) = (process.clone(), state.world);
        let asked = match next.take(step, &self.setting, &mut self.ledgers, &mut world) {
            Ok(asked) => asked,
            Err(wrong) => return led.push(Err((Some(Event::Did(step)), wrong))),
        };
        if let Some(edge) = asked.filter(|edge| !edge.within.is_empty())
            && self.may_crash(state, process, Some(step))
        {
            for (images, call) in edge.within.iter().zip(1..) {
                led.extend(crashes(state, images, |crash| Event::CrashedIn(step, call, crash)));
            }
        }
        let faults_left = state.faults_left - u8::from(Event::Did(step).is_trouble());
        let machine = Machine::On(Box::new(next));
        led.push(Ok((Event::Did(step), State { machine, world, faults_left, ..*state })));
    }

    /// When nothing is left to do: everything is answered, confirmed, closed, and in its session once.
    fn judge(&self, state: &State, process: &Process) -> Result<(), String> {
        let letters = &self.setting.letters;
        let tag = self.ledgers.tag(process.node);
        for (update, letter) in letters.iter().enumerate() {
            let shown = state.world.shown[update];
            let is_undisturbed = state.crashes_left == self.setting.crashes && state.faults_left == self.setting.faults;
            if shown.noticed && is_undisturbed {
                return Err(format!("message {update} has a notice without reason"));
            }
            if !shown.is_enough(letter) {
                return Err(format!("silent loss: message {update} has {} parts of its reply", shown.parts));
            }
            if !state.world.forgotten[update] || tag.turns[update].open {
                return Err(format!("message {update} is never done with"));
            }
        }
        for letter in letters {
            let mut wanted = Lines::default();
            let lines = self.ledgers.session(process.node, letter.chat);
            for update in (0..letters.len()).filter(|update| letters[*update].chat == letter.chat) {
                let shown = state.world.shown[update];
                // Where only a notice arrived, any answer may be the one that it stands for.
                let nonce = lines.nonce(update).filter(|_| shown.parts == 0).unwrap_or(shown.nonce);
                wanted.push_pair(update, nonce);
            }
            if lines != wanted {
                return Err(format!("the session of chat {} holds {lines:?}, wanted {wanted:?}", letter.chat));
            }
        }
        if process.is_settled() { Ok(()) } else { Err("a credit is lost".to_string()) }
    }
}

/// Every state from which one of these can be reached.
fn back(before: &[Vec<u32>], from: &[u32]) -> Vec<bool> {
    let mut reached = vec![false; before.len()];
    let mut open = from.to_vec();
    while let Some(number) = open.pop() {
        if !std::mem::replace(&mut reached[number as usize], true) {
            open.extend(&before[number as usize]);
        }
    }
    reached
}

fn crashes(state: &State, images: &Images, event: impl Fn(Crash) -> Event) -> Vec<Led> {
    let after = |image: ImageId| State {
        machine: Machine::Off(image),
        crashes_left: state.crashes_left - 1,
        world: state.world,
        faults_left: state.faults_left,
    };
    let kill = (event(Crash::Kill), after(images.kill));
    let power = images.power.iter().map(|(left, image)| (event(Crash::Power(*left)), after(*image)));
    std::iter::once(kill).chain(power).map(Ok).collect()
}

impl State {
    fn budget(&self) -> u8 {
        self.crashes_left << 4 | self.faults_left
    }

    fn key(&self, setting: &Setting) -> Box<[u8]> {
        let mut key = vec![self.budget()];
        for (update, shown) in self.world.shown.iter().enumerate() {
            let (forgotten, again) = (self.world.forgotten[update], self.world.again[update]);
            let flags = [shown.noticed, forgotten, again].map(u8::from);
            key.extend([shown.parts, shown.nonce]);
            key.extend(flags);
        }
        match &self.machine {
            Machine::Off(image) => key.extend((*image as u32).to_le_bytes()),
            Machine::On(process) => process.key(setting, &mut key),
        }
        key.into_boxed_slice()
    }
}
