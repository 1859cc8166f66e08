//! `exec`: the command runs as if the wrapper had not been there, and with its secrets.

mod adopt;
mod basics;
mod corner_cases;
mod environment;
mod exits;
mod forward;
mod install;
mod load;
mod orphans;
mod pod;
mod reader;
mod restart;
mod terminal;
mod transparent;
