//! The table of recorded sets, shared by the recorder and the tests.
//!
//! A row is never changed once it is recorded: its settings are those that its agent had, and the
//! agent that takes the set over must have them too.

/// Pairs of a variable and its value.
pub type Settings = &'static [(&'static str, &'static str)];

/// Every version that left sets, with the rows that it was recorded for.
pub const RECORDED: &[(&str, &[Set])] = &[("0.1.0", FIRST)];

/// Settings of every set. With [`CLIENT_ID`], they are the origin that a state names.
pub const POD: Settings = &[
    ("SEGURA_IDENTITY", "secret-postman"),
    ("SEGURA_POD_NAME", NAME),
    ("SEGURA_POD_UID", "0f3c1d5e-8a42-4b7b-9d1c-5e6f7a8b9c0d"),
    ("SEGURA_NAMESPACE", "shop"),
    ("SEGURA_RENEW_INTERVAL", "1h"),
];

/// Name of the pod, and of its host.
pub const NAME: &str = "web-7d4b9c6f5-x2k4z";
/// Client id of the vault's authorization; a state holds its digest.
pub const CLIENT_ID: &str = "upgrade";
/// Template that the templates' set is rendered from: its file name, and its text.
pub const TEMPLATE: (&str, &str) = (
    "app.conf.j2",
    "user = {{ secrets[\"secret-postman\"].username }}\npassword = {{ secrets[\"secret-postman\"].password|shell }}\n",
);

/// One row: a set that is recorded twice, live and deprovisioned.
#[derive(Debug)]
pub struct Set {
    pub name: &'static str,
    /// Command that published the set and left it.
    pub left_by: LeftBy,
    /// Settings besides those of the pod; they win.
    pub settings: Settings,
}

/// How a set was published, and left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftBy {
    /// By `init`, which notifies no process. It was deprovisioned by hand.
    Init,
    /// By `sidecar`, on SIGTERM.
    Sidecar,
    /// By `exec`, on SIGTERM.
    Exec,
}

/// What became of a recorded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Live,
    Deprovisioned,
}

/// Name of the recording that has no set: an `init` with the first row's settings was killed while
/// its POST was under way.
pub const PENDING: &str = "pending";

/// Rows of 0.1.0.
const FIRST: &[Set] = &[
    sidecars("files", &[("SEGURA_OUTPUT", "files")]),
    sidecars("env-shell", &[("SEGURA_OUTPUT", "env"), ("SEGURA_ENV_DIALECT", "shell")]),
    sidecars("env-dotenv", &[("SEGURA_OUTPUT", "env"), ("SEGURA_ENV_DIALECT", "dotenv")]),
    sidecars("env-docker", &[("SEGURA_OUTPUT", "env"), ("SEGURA_ENV_DIALECT", "docker")]),
    sidecars("env-k8s", &[("SEGURA_OUTPUT", "env"), ("SEGURA_ENV_DIALECT", "k8s")]),
    sidecars("json", &[("SEGURA_OUTPUT", "json")]),
    sidecars("yaml", &[("SEGURA_OUTPUT", "yaml")]),
    sidecars("properties", &[("SEGURA_OUTPUT", "properties")]),
    sidecars("templates", &[("SEGURA_OUTPUT", "json"), TEMPLATES]),
    sidecars("several", &[("SEGURA_OUTPUT", "files,env,json,yaml,properties"), SEVERAL]),
    sidecars("file-uid", &[("SEGURA_OUTPUT", "files"), ("SEGURA_FILE_UID", "1001")]),
    Set { name: "by-init", left_by: LeftBy::Init, settings: &[("SEGURA_OUTPUT", "env")] },
    Set { name: "by-exec", left_by: LeftBy::Exec, settings: &[("SEGURA_OUTPUT", "env")] },
];

/// Placeholder for the folder of [`TEMPLATE`], which the recorder and the tests make.
const TEMPLATES: (&str, &str) = ("SEGURA_TEMPLATE_DIR", "");
const SEVERAL: (&str, &str) = ("SEGURA_IDENTITY", "payments/database,secret-postman");

const fn sidecars(name: &'static str, settings: Settings) -> Set {
    Set { name, left_by: LeftBy::Sidecar, settings }
}

impl Set {
    /// All settings, the pod's first; `templates` is the folder that holds [`TEMPLATE`].
    pub fn settings<'a>(
        &self,
        templates: &'a str,
    ) -> impl Iterator<Item = (&'static str, &'a str)> + use<'a> {
        POD.iter().chain(self.settings).map(move |&(name, value)| {
            (name, if (name, value) == TEMPLATES { templates } else { value })
        })
    }

    /// Name of one of its two recordings.
    pub fn recording(&self, fate: Fate) -> String {
        match fate {
            Fate::Live => format!("{}-live", self.name),
            Fate::Deprovisioned => format!("{}-deprovisioned", self.name),
        }
    }
}
