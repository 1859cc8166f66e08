//! A Segura vault for development, with throw-away secrets on loopback.
//!
//! `cargo run --example dev-vault` serves until it is stopped; `-- demo` shows the agent at work.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]

mod built;
mod demo;
#[path = "mod.rs"]
mod dev_vault;
mod manifest;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::dev_vault::{
    ADMIN_ROUTES, Certificate, DevVault, Encryption, GetProvision, Options, Quirks, Resource,
    Slashes,
};

/// A Segura DevOps Secret Manager for development.
///
/// Prints the environment that an agent needs, and serves until Ctrl-C. Everything is made up at
/// start, and gone at the end: certificates, credentials, secrets. With --state, what is stored
/// stays.
#[derive(Parser)]
#[command(
    name = "dev-vault",
    after_long_help = format!("Admin routes (loopback only, no token):\n{ADMIN_ROUTES}"),
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent once against a vault of its own, and show what it wrote
    Demo,
}

#[derive(Args)]
struct Serve {
    /// Where to listen; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Speak plain HTTP instead of TLS
    #[arg(long)]
    http: bool,
    /// The certificate to show
    #[arg(long, value_enum, default_value_t = Certificate::Good, conflicts_with = "http")]
    certificate: Certificate,
    /// One more name for the certificate
    #[arg(long = "name")]
    names: Vec<String>,
    /// Insist on a client certificate, and make one
    #[arg(long, conflicts_with = "http")]
    client_certificate: bool,
    /// The authorization wants the client certificate that is made here, and no other
    #[arg(long, conflicts_with = "http")]
    bind_certificate: bool,
    /// Keep applications, authorizations, secrets and credentials in this file, and start with
    /// what is there
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Write what pods need to this file: a ConfigMap dev-vault with client-id, client-secret and
    /// ca.pem. It goes with the vault
    #[arg(long, value_name = "FILE", conflicts_with = "http")]
    manifest: Option<PathBuf>,
    /// A path in front of every route, such as /vault
    #[arg(long, default_value = "", hide_default_value = true)]
    base_path: String,
    /// The authorization's client id [default: random]
    #[arg(long)]
    client_id: Option<String>,
    /// The authorization's client secret [default: random]
    #[arg(long)]
    client_secret: Option<String>,
    /// An address that the authorization allows, such as 192.168.1.* [default: all]
    #[arg(long = "allowed-ip", value_name = "ADDRESS")]
    allowed_ips: Vec<String>,
    /// The only Referer that the authorization allows
    #[arg(long)]
    referer: Option<String>,
    /// When the authorization ends, such as "2030-01-31 12:00:00" (UTC)
    #[arg(long, value_name = "DATE", value_parser = date)]
    expires: Option<String>,
    /// What the authorization may be used for [default: all]
    #[arg(long = "resource", value_enum)]
    resources: Vec<Resource>,
    /// Applications can't be registered
    #[arg(long)]
    no_registration: bool,
    /// The authorization may not write PAM credentials
    #[arg(long)]
    no_pam_write: bool,
    /// Start without the demo secrets
    #[arg(long)]
    empty: bool,
    /// Seconds by which the vault's clock is ahead
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    clock_shift: i64,
    /// How long a token lives
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    token_ttl: Duration,
    /// Change passwords and raise versions every so often, such as 30s
    #[arg(long, value_parser = rotation)]
    rotate: Option<Duration>,
    /// Put a TTL (in seconds) into provisioned entries
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// Encrypt sensitive values, and print the path of the key that opens them
    #[arg(long)]
    encrypt: bool,
    /// GET provision makes an account, too
    #[arg(long)]
    get_provisions: bool,
    /// Where GET provision reads its fields; with none, there is no such route
    #[arg(long, value_enum, default_value_t = GetProvision::Both)]
    get_provision: GetProvision,
    /// Answer as releases before 4.0 do
    #[arg(long)]
    legacy: bool,
    /// How an identity with slashes may be written in a path
    #[arg(long, value_enum, default_value_t = Slashes::Both)]
    slashes: Slashes,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Demo) => demo::run(),
        None => {
            let manifest = cli.serve.manifest.clone();
            serve(cli.serve.into(), manifest.as_deref()).map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("dev-vault: {error}");
        ExitCode::FAILURE
    })
}

/// Serves until a signal ends it; the vault's files are removed with it.
#[tokio::main(flavor = "current_thread")]
async fn serve(options: Options, manifest: Option<&Path>) -> io::Result<()> {
    let mut ends = Ends::new()?;
    let rotate = options.rotate;
    let vault = DevVault::try_start(options)?;
    if let Some(manifest) = manifest {
        manifest::write(&vault, manifest)?;
    }
    println!("# A Segura vault for development. Paste these lines where the agent shall run:");
    for (name, value) in vault.env() {
        println!("export {name}={value}");
    }
    println!("export SEGURA_IDENTITY=secret-postman");
    println!("# Or try: payments/database, application5");
    if let Some(every) = rotate {
        let every = humantime::format_duration(every);
        println!("# Passwords change every {every}.");
    }
    let admin = vault.admin_url();
    println!("# Ctrl-C ends it; --help lists the admin routes below {admin}/");
    ends.next().await;
    manifest.map_or(Ok(()), fs::remove_file)
}

/// The signals that end a program.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

impl From<Serve> for Options {
    fn from(serve: Serve) -> Self {
        Self {
            listen: serve.listen,
            tls: !serve.http,
            certificate: serve.certificate,
            names: serve.names,
            client_certificate: serve.client_certificate,
            bind_certificate: serve.bind_certificate,
            state: serve.state,
            base_path: serve.base_path,
            allowed_ips: serve.allowed_ips,
            referer: serve.referer,
            expiration_date: serve.expires,
            resources: serve.resources,
            registration: !serve.no_registration,
            pam_write: !serve.no_pam_write,
            demo_secrets: !serve.empty,
            clock_shift: serve.clock_shift,
            client_id: serve.client_id,
            client_secret: serve.client_secret,
            token_ttl: serve.token_ttl,
            rotate: serve.rotate,
            ttl: serve.ttl.map(|seconds| seconds.to_string()),
            encryption: if serve.encrypt { Encryption::Generated } else { Encryption::Off },
            get_provisions: serve.get_provisions,
            get_provision: serve.get_provision,
            quirks: if serve.legacy { Quirks::legacy() } else { Quirks::default() },
            slashes: serve.slashes,
            ..Self::default()
        }
    }
}

fn date(text: &str) -> Result<String, String> {
    dev_vault::date(text).ok_or_else(|| "must be a date such as 2030-01-31 12:00:00".to_owned())
}

fn rotation(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than nothing".to_owned()),
        Ok(every) => Ok(every),
        Err(error) => Err(error.to_string()),
    }
}
