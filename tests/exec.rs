//! `exec`: the command runs as if the wrapper had not been there, and with its secrets.

mod adopt;
mod basics;
mod ends;
mod environment;
mod faithful;
mod forward;
mod install;
mod odd;
mod orphans;
mod pod;
mod reader;
mod restart;
mod storm;
mod terminal;
