//! Owns the table, and the line that says which machine it came from.

use std::fmt;
use std::process::Command;

/// Rows in the order in which they were measured.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    measured: String,
    goal: Option<Goal>,
}

/// A goal, and whether it was met.
pub struct Goal {
    text: String,
    held: bool,
}

impl Goal {
    /// At most `most`.
    pub fn at_most<T: PartialOrd + fmt::Display>(measured: T, most: T, unit: &str) -> Self {
        Self { text: format!("at most {most}{unit}"), held: measured <= most }
    }

    /// `exactly` and nothing else.
    pub fn exactly<T: PartialEq + fmt::Display>(measured: T, exactly: T) -> Self {
        Self { text: exactly.to_string(), held: measured == exactly }
    }
}

impl Report {
    /// Adds a row that has a goal.
    pub fn judged(&mut self, what: impl Into<String>, measured: impl Into<String>, goal: Goal) {
        self.rows.push(Row { what: what.into(), measured: measured.into(), goal: Some(goal) });
    }

    /// Adds a row without a goal.
    pub fn without_goal(&mut self, what: impl Into<String>, measured: impl Into<String>) {
        self.rows.push(Row { what: what.into(), measured: measured.into(), goal: None });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | measured | goal | held |")?;
        writeln!(f, "|---|---|---|---|")?;
        for Row { what, measured, goal } in &self.rows {
            let (text, held) = match goal {
                None => ("", ""),
                Some(Goal { text, held: true }) => (text.as_str(), "yes"),
                Some(Goal { text, held: false }) => (text.as_str(), "**no**"),
            };
            writeln!(f, "| {what} | {measured} | {text} | {held} |")?;
        }
        writeln!(f, "\n{}", machine())
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpu = cpu.map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy();
    let rustc = Command::new("rustc").arg("--version").output().ok();
    let rustc = rustc.and_then(|output| String::from_utf8(output.stdout).ok());
    let rustc = rustc.as_deref().map_or("unknown rustc", str::trim);
    format!("{cpu} ({}), {cores} cores, Linux {kernel}, {rustc}", std::env::consts::ARCH)
}
