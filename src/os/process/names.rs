//! The names of a process, and whether a given name means it.

use std::io::{self, Read};
use std::path::Path;
use std::{fmt, fs};

use super::gone;
use crate::logging::escape;

/// The longest name that the kernel keeps, in bytes (`TASK_COMM_LEN` less the NUL,
/// `proc_pid_comm(5)`).
const LONGEST_COMM: usize = 15;

/// Programs that run the script in their first argument.
const INTERPRETERS: [&str; 5] = ["sh", "bash", "dash", "ash", "busybox"];

/// Such programs whose file name may end with a version.
const VERSIONED: [&str; 5] = ["python", "ruby", "perl", "node", "php"];

/// Programs that hold many commands, and act as the one that they were called by.
const MANY: [&str; 2] = ["busybox", "toybox"];

/// The most that is read of the arguments, in bytes: names are among the first.
const LONGEST_ARGUMENTS: u64 = 16 * 1024;

/// The names of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The file name of the executable, if the agent may read it: the link needs the right to trace
    /// the process (`proc_pid_exe(5)`).
    pub executable: Option<String>,
    /// The first arguments, the program's own name first.
    pub arguments: Vec<String>,
    /// The kernel's name, at most 15 bytes.
    pub comm: String,
}

impl Names {
    /// Reads the names, without those that the agent may not read.
    pub(super) fn read(pid: i32, comm: String) -> io::Result<Self> {
        let link = fs::read_link(format!("/proc/{pid}/exe")).ok();
        let executable = link.and_then(|link| {
            let name = link.file_name()?.to_string_lossy().into_owned();
            // The kernel appends this once the file was removed (`proc_pid_exe(5)`).
            Some(name.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(name))
        });
        let mut bytes = Vec::new();
        let opened = fs::File::open(format!("/proc/{pid}/cmdline"));
        let read = opened.and_then(|file| file.take(LONGEST_ARGUMENTS).read_to_end(&mut bytes));
        if let Err(error) = read.map_err(gone)
            && error.kind() != io::ErrorKind::PermissionDenied
        {
            return Err(error);
        }
        let text = String::from_utf8_lossy(&bytes);
        let arguments = text.trim_end_matches('\0').split('\0').take(3);
        let arguments = arguments.filter(|_| !bytes.is_empty()).map(str::to_owned).collect();
        Ok(Self { executable, arguments, comm })
    }

    /// True if `name` means this process: it is the file name of the executable, else of the first
    /// argument, else the kernel's name; or the file name of the script that the process
    /// interprets.
    pub fn matches(&self, name: &str) -> bool {
        self.program().is_some_and(|program| program == name)
            || self.script().is_some_and(|script| script == name)
            || (self.program().is_none() && self.comm == cut(name))
    }

    /// The program, without its folder.
    fn program(&self) -> Option<&str> {
        let called = self.arguments.first().map(|first| file_name(first));
        match self.executable.as_deref() {
            Some(executable) if MANY.contains(&executable) => called.or(Some(executable)),
            Some(executable) => Some(executable),
            // Servers overwrite their arguments by a title: `nginx: master process
            // /usr/sbin/nginx`.
            None => match self.arguments.first().and_then(|first| first.split_once(": ")) {
                Some((title, _)) => Some(file_name(title)),
                None => called.filter(|called| !called.is_empty()),
            },
        }
    }

    /// The script, without its folder, where the program interprets one.
    fn script(&self) -> Option<&str> {
        let mut arguments = self.arguments.iter().skip(1);
        let first = arguments.next()?;
        let name = file_name(first);
        if self.program().is_some_and(is_interpreter) && !name.starts_with('-') {
            return Some(name);
        }
        // The kernel names a script's process after the script, and passes at most one argument of
        // the `#!` line before it (`execve(2)`, "Interpreter scripts").
        let name = if first.starts_with('-') { file_name(arguments.next()?) } else { name };
        (cut(name) == self.comm).then_some(name)
    }
}

/// The name that people know the process by, on one line.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.script().or_else(|| self.program()).unwrap_or(&self.comm);
        f.write_str(&escape::one_line(name))
    }
}

fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

/// A name as the kernel would have cut it.
fn cut(name: &str) -> String {
    let bytes = name.as_bytes();
    String::from_utf8_lossy(bytes.get(..LONGEST_COMM).unwrap_or(bytes)).into_owned()
}

fn is_interpreter(program: &str) -> bool {
    let base = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.contains(&program) || VERSIONED.contains(&base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(executable: Option<&str>, arguments: &[&str], comm: &str, name: &str, expected: bool) {
        let names = Names {
            executable: executable.map(str::to_owned),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            comm: comm.to_owned(),
        };
        assert_eq!(names.matches(name), expected, "{names:?} by {name}");
    }

    #[test]
    fn a_program_goes_by_its_executable_then_its_arguments_then_its_kernel_name() {
        check(Some("nginx"), &["nginx: master process nginx"], "nginx", "nginx", true);
        check(Some("nginx"), &["other"], "other", "other", false);
        check(None, &["/usr/sbin/nginx", "-g"], "nginx", "nginx", true);
        check(
            None,
            &["nginx: master process /usr/sbin/nginx -g daemon off;"],
            "nginx",
            "nginx",
            true,
        );
        check(None, &["postgres: checkpointer "], "postgres", "postgres", true);
        check(None, &["other"], "nginx", "nginx", false);
        check(None, &[], "nginx", "nginx", true);
        check(None, &[], "a-name-of-more-", "a-name-of-more-than-15", true);
        check(None, &[], "a-name-of-more-", "a-name-of-more-", true);
        check(None, &[], "a-name", "a-name-of-more-than-15", false);
    }

    #[test]
    fn a_script_goes_by_its_own_name_too() {
        check(Some("python3.12"), &["python3", "/app/serve.py"], "python3", "serve.py", true);
        check(Some("python3.12"), &["python3", "/app/serve.py"], "python3", "python3.12", true);
        check(Some("bash"), &["/bin/bash", "/run.sh"], "run.sh", "run.sh", true);
        check(Some("node"), &["node", "server.js"], "MainThread", "server.js", true);
        check(Some("lua"), &["/usr/bin/lua", "-W", "/app/serve"], "serve", "serve", true);
        check(
            Some("lua"),
            &["lua", "/app/a-long-name-of-a-script"],
            "a-long-name-of-",
            "a-long-name-of-a-script",
            true,
        );
        check(Some("busybox"), &["/bin/sh", "/run.sh"], "sh", "run.sh", true);
        check(Some("busybox"), &["crond", "-f"], "crond", "crond", true);
    }

    #[test]
    fn a_name_among_the_arguments_of_another_is_no_match() {
        check(Some("vim"), &["vim", "nginx"], "vim", "nginx", false);
        check(Some("bash"), &["sh", "-c", "nginx"], "sh", "nginx", false);
        check(Some("java"), &["java", "nginx"], "java", "nginx", false);
        check(None, &["vim", "nginx"], "vim", "nginx", false);
        check(Some("tail"), &["tail", "-f", "nginx"], "tail", "nginx", false);
    }

    #[test]
    fn names_are_shown_on_one_line() {
        let names = Names { comm: "a\nb".to_owned(), ..Names::default() };
        assert_eq!(names.to_string(), "a\\nb");
    }
}
