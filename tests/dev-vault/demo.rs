//! `dev-vault demo`: the agent at work, from nothing to files, in one command.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{
    Ends, built,
    dev_vault::{DevVault, Options},
};

const IDENTITY: &str = "secret-postman";
const POD: &str = "demo-7d4b9c6f5-x2k4z";

/// Runs the agent once against a vault of its own, shows what it wrote, and takes it all away.
#[tokio::main(flavor = "current_thread")]
pub async fn run() -> io::Result<ExitCode> {
    // Registered first: from here on a signal ends the agent, and then everything is cleaned up.
    let mut ends = Ends::new()?;

    println!("1. Building the agent; after the first time, nothing is left to build.");
    let dir = tempfile::tempdir()?;
    let messages = dir.path().join("messages");
    let mut cargo = built::command().stdout(File::create(&messages)?).spawn()?;
    if let Some(ended) = until_exit(&mut cargo, &mut ends).await? {
        return Ok(ended);
    }
    let agent = built::executable(&fs::read_to_string(&messages)?)
        .ok_or_else(|| io::Error::other("cargo does not say where it has put the agent"))?;

    println!("2. A vault for development starts, with a certificate authority of its own.");
    let vault = DevVault::try_start(Options::default())?;
    println!("   {}", vault.url());

    let output = Output::new()?;
    println!("3. A directory in memory takes the place of the pod's volume.");
    println!("   {}", output.dir.path().display());
    if output.on_disk {
        println!("   /dev/shm can't be used here: this one may be on a disk, which the agent");
        println!("   refuses unless SEGURA_ALLOW_DISK=true, as it is now.");
    }

    println!("4. The agent starts as an init container: pod {POD}, secret {IDENTITY}.");
    println!("   $ segura-agent init");
    let mut child = init(&agent, &vault, &output).spawn()?;
    if let Some(ended) = until_exit(&mut child, &mut ends).await? {
        return Ok(ended);
    }

    println!("5. It asked the vault for:");
    for request in vault.requests() {
        println!("   {} {}", request.method, request.target);
    }
    println!("6. The application finds these files:");
    show(output.dir.path())?;
    println!("Everything is removed again. Next: cargo run --example dev-vault -- --rotate 30s");
    Ok(ExitCode::SUCCESS)
}

struct Output {
    dir: TempDir,
    on_disk: bool,
}

impl Output {
    fn new() -> io::Result<Self> {
        let builder = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix("segura-demo-");
            builder
        };
        if let Ok(dir) = builder().tempdir_in("/dev/shm") {
            return Ok(Self { dir, on_disk: false });
        }
        Ok(Self { dir: builder().tempdir()?, on_disk: true })
    }
}

fn init(agent: &Path, vault: &DevVault, output: &Output) -> Command {
    let mut command = Command::new(agent);
    command.arg("init");
    // Settings of the person's own shell must not reach the demo.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
        command.env_remove(name);
    }
    command
        .envs(vault.env())
        .env("SEGURA_IDENTITY", IDENTITY)
        .env("SEGURA_POD_NAME", POD)
        .env("SEGURA_NAMESPACE", "demo")
        .env("SEGURA_OUTPUT_DIR", output.dir.path())
        .env("SEGURA_OUTPUT", "files,env,json")
        .env("SEGURA_LOG_FORMAT", "text");
    if output.on_disk {
        command.env("SEGURA_ALLOW_DISK", "true");
    }
    command
}

fn is_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ["SEGURA_", "SENHASEGURA_", "POD_", "DEPLOY_NAME"].iter().any(|prefix| name.starts_with(prefix))
}

/// Waits for the end of a child. Gives the code to end with, if the child failed or was stopped.
async fn until_exit(child: &mut Child, ends: &mut Ends) -> io::Result<Option<ExitCode>> {
    let status = tokio::select! {
        status = exit_of(child) => status?,
        () = ends.next() => {
            println!("   Stopped.");
            return Ok(Some(code(stop(child).await?)));
        }
    };
    if status.success() {
        return Ok(None);
    }
    println!("   It failed ({status}); the lines above say why.");
    Ok(Some(code(status)))
}

/// Waits without blocking the signals.
async fn exit_of(child: &mut Child) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Ends a child: by asking first, since it has things of its own to clean up.
async fn stop(child: &mut Child) -> io::Result<ExitStatus> {
    let asked = kill_process(Pid::from_child(child), Signal::TERM);
    if asked.is_ok()
        && let Ok(status) = timeout(Duration::from_secs(5), exit_of(child)).await
    {
        return status;
    }
    child.kill()?;
    child.wait()
}

fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Prints every file a reader finds, by its path, with its mode, its size and its content.
fn show(root: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    collect(root, Path::new(""), &mut files)?;
    let width = files.iter().map(|file| file.as_os_str().len()).max();
    for file in files {
        let full = root.join(&file);
        let mode = fs::metadata(&full)?.permissions().mode() & 0o7777;
        let content = fs::read(&full)?;
        let (name, size) = (file.display().to_string(), content.len());
        let width = width.unwrap_or_default();
        let text = String::from_utf8_lossy(&content);
        let mut lines = text.lines();
        let only = lines.next().unwrap_or_default();
        let head = format!("   {name:width$}  {mode:04o}  {size:>4} B");
        if lines.next().is_none() && only.len() <= 60 {
            println!("{}", format!("{head}  {only}").trim_end());
            continue;
        }
        println!("{head}");
        for line in text.lines() {
            println!("      | {line}");
        }
    }
    Ok(())
}

/// The files below a directory in order of their paths, links followed, hidden ones left out.
fn collect(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut names = fs::read_dir(root.join(below))?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        let path = below.join(name);
        if root.join(&path).is_dir() {
            collect(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
