//! Identifies this pod by the variables of the pod spec and by the mounted service account.
//!
//! [`Given`] holds the variables, [`Mounted::read`] reads the service account's files, and
//! [`identify`] decides without I/O.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::model::PodIdentity;
use crate::os::opened::{self, LONGEST_INPUT};

/// The mount path of a pod's service account (Kubernetes, "Accessing the Kubernetes API from a
/// Pod").
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The alphabet of Kubernetes' generated names (`k8s.io/apimachinery/pkg/util/rand`).
const RANDOM: &str = "bcdfghjklmnpqrstvwxz2456789";
/// The letters of that alphabet for the digits 0 to 9 of a pod template's hash
/// (`SafeEncodeString`).
const HASHED: &str = "456789bcdf";
/// The longest generated name: Kubernetes cuts a longer base to 58 characters and adds 5
/// (`k8s.io/apiserver/pkg/storage/names`).
const LONGEST_LABEL: usize = 63;

/// The variables of the environment, without empty values.
#[derive(Debug, Default)]
pub struct Given {
    /// `SEGURA_POD_NAME`, else `POD_NAME`.
    pub name: Option<String>,
    /// `SEGURA_POD_UID`, else `POD_UID`.
    pub uid: Option<String>,
    /// `SEGURA_NAMESPACE`, else `POD_NAMESPACE`.
    pub namespace: Option<String>,
    /// `SEGURA_DEPLOY`, else `DEPLOY_NAME`.
    pub deploy: Option<String>,
    /// `HOSTNAME`.
    pub hostname: Option<String>,
}

/// The claims of the mounted service account.
#[derive(Debug, Default)]
pub struct Mounted {
    name: Option<String>,
    uid: Option<String>,
    namespace: Option<String>,
    /// A warning for each file that is not read for its kind or its size.
    unfit: Vec<String>,
}

#[derive(Deserialize)]
struct TokenClaims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: KubernetesClaims,
}

#[derive(Deserialize)]
struct KubernetesClaims {
    pod: Option<PodClaim>,
}

#[derive(Deserialize)]
struct PodClaim {
    name: String,
    uid: Option<String>,
}

impl Mounted {
    /// Reads the service account's token and namespace; a missing or malformed file counts as none,
    /// and one that is not read for its kind or its size has a warning.
    pub fn read(dir: &Path) -> Self {
        let mut unfit = Vec::new();
        let mut read = |name| {
            let path = dir.join(name);
            let bytes = opened::read_input(&path, LONGEST_INPUT).map_err(|error| {
                if error.is_unfit() {
                    unfit.push(format!("{} is not read: {error}", path.display()));
                }
            });
            String::from_utf8(bytes.ok()?.expose().clone()).ok()
        };
        let pod = read("token").and_then(|token| claim(&token));
        let (name, uid) = pod.map_or((None, None), |pod| (Some(pod.name), pod.uid));
        let namespace =
            read("namespace").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Self { name, uid, namespace, unfit }
    }
}

/// The pod claim of a service account token, a JWT (Kubernetes, "Managing Service Accounts"). The
/// signature is not verified: the kubelet wrote the file.
fn claim(token: &str) -> Option<PodClaim> {
    let payload = token.split('.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<TokenClaims>(&json).ok()?.kubernetes.pod
}

/// The pod's identity and its uncertainties.
#[derive(Debug)]
pub struct Identified {
    /// The pod's identity.
    pub pod: PodIdentity,
    /// True if the name is only the host's: then nothing may be deprovisioned by it.
    pub merely_hostname: bool,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Identifies the pod; `None` if neither source names it.
pub fn identify(given: Given, mounted: Mounted) -> Option<Identified> {
    let mut warnings = mounted.unfit;
    let mut merely_hostname = false;
    let name = given.name.or(mounted.name).or_else(|| {
        merely_hostname = given.hostname.is_some();
        given.hostname
    })?;
    if merely_hostname {
        warnings.push(
            "the pod's name is taken from HOSTNAME; set SEGURA_POD_NAME from metadata.name"
                .to_owned(),
        );
    }
    let deploy = given.deploy.unwrap_or_else(|| {
        derive_deploy(&name).map(ToOwned::to_owned).unwrap_or_else(|| {
            warnings.push(format!(
                "no workload can be derived from the pod name {name:?}, so deploy is the pod name; set SEGURA_DEPLOY"
            ));
            name.clone()
        })
    });
    let namespace = given.namespace.or(mounted.namespace);
    let pod = PodIdentity { name, uid: given.uid.or(mounted.uid), namespace, deploy };
    Some(Identified { pod, merely_hostname, warnings })
}

/// The pod's name without the suffix of its workload's controller; `None` if it has no such suffix.
fn derive_deploy(pod: &str) -> Option<&str> {
    // A name that was cut lacks a part of the workload's name.
    if pod.len() >= LONGEST_LABEL {
        return None;
    }
    let (rest, last) = cut(pod)?;
    if is_ordinal(last) {
        return Some(rest);
    }
    if !(last.len() == 5 && is_random(last)) {
        return None;
    }
    // From here on the name has at least the shape of a DaemonSet's or Job's pod.
    let Some((shorter, before)) = cut(rest) else {
        return Some(rest);
    };
    if is_template_hash(before) || is_minutes(before) {
        return Some(shorter);
    }
    if is_ordinal(before) {
        // An Indexed Job's pod; the job itself may be a CronJob's.
        return match cut(shorter) {
            Some((cron, minutes)) if is_minutes(minutes) => Some(cron),
            _ => Some(shorter),
        };
    }
    Some(rest)
}

fn cut(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('-').filter(|(rest, last)| !rest.is_empty() && !last.is_empty())
}

fn is_random(text: &str) -> bool {
    text.chars().all(|c| RANDOM.contains(c))
}

/// True for a ReplicaSet's hash: a 32-bit number of up to ten digits, in ten letters of the random
/// alphabet. Other letters of it are accepted only beside a figure, so that a word (`grpcsvc`) is
/// no hash.
fn is_template_hash(text: &str) -> bool {
    (6..=10).contains(&text.len())
        && is_random(text)
        && (text.chars().all(|c| HASHED.contains(c)) || text.contains(|c: char| c.is_ascii_digit()))
}

/// True for a StatefulSet's ordinal or a Job's completion index.
fn is_ordinal(text: &str) -> bool {
    text.len() <= 7
        && text.bytes().all(|c| c.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

/// True for a CronJob's schedule time: minutes since the epoch, or seconds by the controller before
/// Kubernetes 1.21.
fn is_minutes(text: &str) -> bool {
    matches!(text.len(), 8 | 10)
        && text.bytes().all(|c| c.is_ascii_digit())
        && !text.starts_with('0')
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_workload_is_derived_from_the_pods_name() {
        let cut_at_63 = format!("{}x2k4z", "a".repeat(58));
        for (pod, deploy) in [
            // ReplicaSet
            ("web-7d4b9c6f5-x2k4z", Some("web")),
            ("my-app-5d59d67564-abcde", None),
            ("my-app-5d59d67564-bcdfg", Some("my-app")),
            ("api-v2-6b9xk7wz2q-zt8m5", Some("api-v2")),
            ("web-bcdfbc-x2k4z", Some("web")),
            // DaemonSet, and words that only look like a hash
            ("node-exporter-x2k4z", Some("node-exporter")),
            ("my-db-x2k4z", Some("my-db")),
            ("my-grpcsvc-x2k4z", Some("my-grpcsvc")),
            ("fluentd-v1w9q", None),
            ("fluentd-v2w9q", Some("fluentd")),
            // StatefulSet
            ("kafka-0", Some("kafka")),
            ("kafka-12", Some("kafka")),
            ("kafka-012", None),
            // Job, CronJob, Indexed Job, and both
            ("migrate-x2k4z", Some("migrate")),
            ("backup-29412345-x2k4z", Some("backup")),
            ("backup-1606867200-x2k4z", Some("backup")),
            ("train-3-x2k4z", Some("train")),
            ("backup-29412345-0-x2k4z", Some("backup")),
            // no known shape
            ("web", None),
            ("standalone-pod", None),
            ("-x2k4z", None),
            ("-0", None),
            ("", None),
            (cut_at_63.as_str(), None),
        ] {
            assert_eq!(derive_deploy(pod), deploy, "{pod:?}");
        }
    }

    fn token(payload: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn names_come_from_the_spec_then_the_token_then_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"kubernetes.io":{"namespace":"shop","pod":{"name":"web-0","uid":"u-1"}}}"#;
        fs::write(dir.path().join("token"), token(json)).unwrap();
        fs::write(dir.path().join("namespace"), "shop\n").unwrap();

        let host = || Given { hostname: Some("host-0".to_owned()), ..Given::default() };
        let named = identify(host(), Mounted::read(dir.path())).unwrap();
        assert_eq!(named.pod.name, "web-0");
        assert_eq!(named.pod.uid.as_deref(), Some("u-1"));
        assert_eq!(named.pod.namespace.as_deref(), Some("shop"));
        assert_eq!(named.pod.deploy, "web");
        assert!(!named.merely_hostname && named.warnings.is_empty());

        let given = Given { name: Some("api-0".to_owned()), ..host() };
        assert_eq!(identify(given, Mounted::read(dir.path())).unwrap().pod.name, "api-0");

        let hosted = identify(host(), Mounted::default()).unwrap();
        assert_eq!(hosted.pod.name, "host-0");
        assert!(hosted.merely_hostname);
        assert_eq!(hosted.warnings.len(), 1);

        assert!(identify(Given::default(), Mounted::default()).is_none());
    }

    #[test]
    fn a_token_that_names_no_pod_is_no_error() {
        for text in ["", "a.b.c", &token("{}"), &token(r#"{"kubernetes.io":{"namespace":"x"}}"#)] {
            assert!(claim(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_name_of_no_known_shape_is_its_own_workload_with_a_warning() {
        let given = Given { name: Some("standalone".to_owned()), ..Given::default() };
        let identified = identify(given, Mounted::default()).unwrap();
        assert_eq!(identified.pod.deploy, "standalone");
        assert_eq!(identified.warnings.len(), 1);
    }
}
