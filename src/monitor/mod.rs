//! `monitor`: what is known of the program and its host, as frames for people and as JSON. Facts are gathered in one
//! shell; what they look like is decided in pure cores, and `cli` puts it on a terminal.

// The facts as JSON.
pub mod document;
// What is known at one moment.
pub mod facts;
// Looks at files and at the kernel.
pub mod gather;
// Figures of the last minutes.
pub mod history;
// Keys, and what is shown where.
pub mod layout;
// A line of a frame, and words for figures.
pub mod line;
// Frames without a terminal.
pub mod plain;
// What the kernel says of a process.
pub mod process;
// Cells, and the bytes that change them.
pub mod screen;
// The lines about the program and its channels.
pub mod views;
// The lines about the process, the host and the disk.
pub mod views_host;
