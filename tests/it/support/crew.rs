//! A crew of threads that judges the cells of a table together, because most of a cell's time is waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::support::waiting::{lock, spawn};

const THREADS: usize = 16;

/// Judges every cell once, in any order; what was wrong with those that were not as they should be.
pub fn judge_all<Cell: Send + 'static>(
    cells: impl IntoIterator<Item = Cell>,
    judge: fn(&Cell) -> Result<(), String>,
) -> Vec<String> {
    let work: Arc<Mutex<VecDeque<Cell>>> = Arc::new(Mutex::new(cells.into_iter().collect()));
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let member = |_| {
        let (work, wrong) = (Arc::clone(&work), Arc::clone(&wrong));
        spawn("cells", move || {
            while let Some(cell) = { lock(&work).pop_front() } {
                lock(&wrong).extend(judge(&cell).err());
            }
        })
    };
    let crew: Vec<_> = (0..THREADS).map(member).collect();
    crew.into_iter().for_each(|thread| thread.join().expect("a thread of cells ends"));
    std::mem::take(&mut *lock(&wrong))
}
