//! Notifying the main process: by signal, by PID file, by command, by URL, and through crashes.

pub mod app;
mod command;
mod crash;
mod pid_file;
mod pod;
mod signal;
mod start;
mod url;
