//! Parsers of values. An error gives the expected shape and never quotes the value.

use std::time::Duration;

use url::{Host, Url};

use crate::config::settings::{Listen, MaxStale, ProbeAddress, Sandbox, StartupTimeout};
use crate::os::signal::Signal;
use crate::render::env::Dialect;
use crate::render::name::{Case, Variables};

/// The expected shape of a value, which follows `VARIABLE: must be`.
pub type Shape = &'static str;

/// A whole number and one of `ms`, `s`, `m`, `h`.
pub const DURATION: Shape = "a duration such as 500ms, 30s, 5m or 1h";

/// Reads a duration.
pub fn duration(text: &str) -> Result<Duration, Shape> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(DURATION)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| DURATION)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(DURATION),
    };
    // A hundred years: a sum of a greater duration and a time may overflow.
    let number =
        number.checked_mul(millis).filter(|n| *n <= 876_000 * 3_600_000).ok_or(DURATION)?;
    Ok(Duration::from_millis(number))
}

/// Reads a duration that is not zero.
pub fn timeout(text: &str) -> Result<Duration, Shape> {
    duration(text)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or("a duration above zero such as 500ms, 30s, 5m or 1h")
}

/// Reads the limit of a start.
pub fn startup_timeout(text: &str) -> Result<StartupTimeout, Shape> {
    duration_or_off(text, StartupTimeout::After, StartupTimeout::Never)
}

/// Reads the limit of a set's age.
pub fn max_stale(text: &str) -> Result<MaxStale, Shape> {
    duration_or_off(text, MaxStale::After, MaxStale::Never)
}

fn duration_or_off<T>(text: &str, after: fn(Duration) -> T, off: T) -> Result<T, Shape> {
    match text {
        "off" => Ok(off),
        _ => timeout(text).map(after).map_err(|_| "`off` or a duration such as 30s, 5m or 1h"),
    }
}

/// Reads `true` or `false`.
pub fn boolean(text: &str) -> Result<bool, Shape> {
    text.parse().map_err(|_| "`true` or `false`")
}

/// Reads an octal mode of up to four digits.
pub fn mode(text: &str) -> Result<u32, Shape> {
    const SHAPE: Shape = "an octal mode such as 0440";
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|c| (b'0'..=b'7').contains(&c));
    if !octal {
        return Err(SHAPE);
    }
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or(SHAPE)
}

/// Reads a numeric user or group id.
pub fn id(text: &str) -> Result<u32, Shape> {
    // The largest number means "leave it as it is" to chown(2).
    text.parse().ok().filter(|id| *id != u32::MAX).ok_or("a number, as in runAsUser and fsGroup")
}

/// Reads a signal.
pub fn signal(text: &str) -> Result<Signal, Shape> {
    Signal::parse(text).ok_or("a signal such as HUP, USR1 or RTMIN+1")
}

/// Reads an exit code other than 0, which means success.
pub fn exit_code(text: &str) -> Result<u8, Shape> {
    text.parse().ok().filter(|code| *code > 0).ok_or("a number from 1 to 255")
}

/// Reads an address and port, a port alone, or `off`.
pub fn listen(text: &str) -> Result<Listen, Shape> {
    if text == "off" {
        return Ok(Listen::Off);
    }
    let every = text.strip_prefix(':').and_then(port).map(|port| ProbeAddress::Every { port });
    let one = || text.parse().map(ProbeAddress::One).ok();
    let address = every.or_else(one).map(Listen::At);
    address.ok_or("`off`, :PORT such as :9102, or ADDR:PORT such as 127.0.0.1:9102")
}

/// Reads the number of a port, in digits alone.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads the rules of the sandbox.
pub fn sandbox(text: &str) -> Result<Sandbox, Shape> {
    match text {
        "off" => Ok(Sandbox::Off),
        "auto" => Ok(Sandbox::Auto),
        "require" => Ok(Sandbox::Require),
        _ => Err("`auto`, `require` or `off`"),
    }
}

/// Reads the case of letters in names.
pub fn case(text: &str) -> Result<Case, Shape> {
    match text {
        "keep" => Ok(Case::Keep),
        "upper" => Ok(Case::Upper),
        _ => Err("`keep` or `upper`"),
    }
}

/// Reads a pattern for the names of variables, whose letters get the given case.
pub fn pattern(text: &str, case: Case) -> Result<Variables, Shape> {
    Variables::new(text, case).ok_or("a pattern that holds {key}, with or without {identity}")
}

/// Reads a comma list of globs; commas in braces belong to a glob.
pub fn globs(text: &str) -> Result<Vec<String>, Shape> {
    let mut depth = 0_u32;
    let globs = text.split(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    });
    let globs: Vec<String> = globs.map(|glob| glob.trim().to_owned()).collect();
    let sound = globs.iter().all(|text| is_glob(text));
    sound.then_some(globs).ok_or("a comma list of identity/key globs such as db/cert,**/keystore")
}

/// Tests for a valid glob of relative paths.
pub fn is_glob(text: &str) -> bool {
    let path = !text.is_empty() && !text.starts_with(['/', '!']);
    path && !text.chars().any(char::is_control) && fast_glob::validate(text).is_ok()
}

/// Reads the dialect of the env file.
pub fn dialect(text: &str) -> Result<Dialect, Shape> {
    [Dialect::Shell, Dialect::Dotenv, Dialect::Docker, Dialect::Kubernetes]
        .into_iter()
        .find(|dialect| dialect.as_str() == text)
        .ok_or("`shell`, `dotenv`, `docker` or `k8s`")
}

/// Reads a command: a JSON array of strings, the first of which is not empty.
pub fn command(text: &str) -> Result<Vec<String>, Shape> {
    serde_json::from_str::<Vec<String>>(text)
        .ok()
        .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
        .filter(|words| words.iter().all(|word| !word.contains('\0')))
        .ok_or("a JSON array of strings such as [\"/bin/reload\",\"now\"]")
}

/// Reads an absolute path.
pub fn path(text: &str) -> Result<std::path::PathBuf, Shape> {
    let absolute = text.starts_with('/') && !text.contains('\0');
    absolute.then(|| text.into()).ok_or("an absolute path")
}

/// Reads the name of a process.
pub fn process_name(text: &str) -> Result<String, Shape> {
    let name = !text.contains('/') && !text.chars().any(char::is_control);
    name.then(|| text.to_owned()).ok_or("the file name of an executable, such as nginx")
}

/// Reads the value of a header.
pub fn header(text: &str) -> Result<String, Shape> {
    let visible = text.bytes().all(|c| (0x20..0x7f).contains(&c));
    visible.then(|| text.to_owned()).ok_or("printable ASCII")
}

/// Proves that a proxy can be used, and reads its port; the text itself goes to the HTTP client,
/// with its password.
pub fn proxy(text: &str) -> Result<u16, Shape> {
    let spelled = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&spelled).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .and_then(|url| url.port_or_known_default())
        .ok_or("a URL such as http://proxy.example.com:3128")
}

/// Reads a base URL: http or https, a host, and no more than a path.
pub fn base_url(text: &str) -> Result<Url, Shape> {
    const SHAPE: Shape =
        "an https URL such as https://vault.example.com, without user, query or fragment";
    let mut url = Url::parse(text.trim()).map_err(|_| SHAPE)?;
    let plain = matches!(url.scheme(), "https" | "http")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(SHAPE);
    }
    // One spelling for one vault, so that a trailing slash makes no other origin.
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Reads a loopback URL to POST to.
pub fn loopback_url(text: &str) -> Result<Url, Shape> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http" && is_loopback(url));
    url.ok_or("an http URL on a loopback address such as http://127.0.0.1:8080/reload")
}

/// Tests for a URL whose host is a loopback address or `localhost`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name == "localhost.",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_a_unit() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("5 m", None),
            ("5M", None),
            ("1d", None),
            ("1h30m", None),
            ("99999999999999999999h", None),
            ("9999999999h", None),
        ] {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
        assert!(timeout("0s").is_err());
        assert_eq!(startup_timeout("off"), Ok(StartupTimeout::Never));
        let minute = Duration::from_secs(60);
        assert_eq!(startup_timeout("1m"), Ok(StartupTimeout::After(minute)));
        assert_eq!(max_stale("off"), Ok(MaxStale::Never));
        assert_eq!(max_stale("60s"), Ok(MaxStale::After(minute)));
    }

    #[test]
    fn modes_are_octal_permissions() {
        for (text, expected) in [
            ("0440", Some(0o440)),
            ("440", Some(0o440)),
            ("0777", Some(0o777)),
            ("04755", None),
            ("4755", None),
            ("0448", None),
            ("rw-", None),
            ("44", None),
            ("+440", None),
        ] {
            assert_eq!(mode(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn urls_are_plain_and_have_one_spelling() {
        for (text, expected) in [
            ("https://vault.example.com", Some("https://vault.example.com/")),
            ("https://vault.example.com/", Some("https://vault.example.com/")),
            ("https://vault.example.com:8443/a/b//", Some("https://vault.example.com:8443/a/b")),
            ("http://127.0.0.1:80", Some("http://127.0.0.1/")),
            ("https://user@vault.example.com", None),
            ("https://:pw@vault.example.com", None),
            ("https://vault.example.com?x", None),
            ("https://vault.example.com#x", None),
            ("ftp://vault.example.com", None),
            ("vault.example.com", None),
            ("https://", None),
        ] {
            assert_eq!(base_url(text).ok().map(String::from).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn loopback_is_this_machine_alone() {
        for (text, expected) in [
            ("http://127.0.0.1", true),
            ("http://127.9.9.9:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
            ("http://127.0.0.1.example.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn globs_are_split_at_commas_outside_of_braces() {
        assert_eq!(globs("db/cert, **/k?y").unwrap(), ["db/cert", "**/k?y"]);
        assert_eq!(globs("db/{a,b},c/[xy]").unwrap(), ["db/{a,b}", "c/[xy]"]);
        for text in ["", "a/b,", "/a/b", "!a/b", "a/{b", "a/[b", "a/b\\", "a/\u{1}"] {
            assert!(globs(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_other_parsers_take_their_shapes_alone() {
        assert_eq!(boolean("true"), Ok(true));
        assert!(boolean("yes").is_err() && boolean("TRUE").is_err());
        assert_eq!(id("0"), Ok(0));
        assert!(id("4294967295").is_err() && id("root").is_err());
        assert!(exit_code("0").is_err() && exit_code("256").is_err() && exit_code("75").is_ok());
        assert_eq!(listen("off"), Ok(Listen::Off));
        for (text, expected) in [
            ("[::]:9102", ProbeAddress::One("[::]:9102".parse().unwrap())),
            ("127.0.0.1:9102", ProbeAddress::One("127.0.0.1:9102".parse().unwrap())),
            (":9102", ProbeAddress::Every { port: 9102 }),
        ] {
            assert_eq!(listen(text), Ok(Listen::At(expected)), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        for text in [":", ":+1", ":65536", "9102", ":x", "::9102", "localhost:9102"] {
            assert!(listen(text).is_err(), "{text}");
        }
        assert!(listen("9102").is_err());
        assert_eq!(command(r#"["a",""]"#).unwrap(), ["a", ""]);
        assert!(command("[]").is_err() && command(r#"[""]"#).is_err() && command("a b").is_err());
        assert!(path("/x").is_ok() && path("x").is_err());
        assert!(process_name("nginx").is_ok() && process_name("/usr/sbin/nginx").is_err());
        assert!(loopback_url("http://127.0.0.1:1/x").is_ok());
        assert!(loopback_url("http://example.com/").is_err());
        assert_eq!(proxy("http://user:pw@proxy:3128"), Ok(3128));
        assert_eq!(
            [proxy("proxy"), proxy("https://proxy"), proxy("proxy:81")],
            [Ok(80), Ok(443), Ok(81)]
        );
        assert_eq!(
            [sandbox("auto"), sandbox("require")],
            [Ok(Sandbox::Auto), Ok(Sandbox::Require)]
        );
        assert!(sandbox("off") == Ok(Sandbox::Off) && sandbox("on").is_err());
        assert!(proxy("socks5://proxy").is_err() && proxy("http://").is_err());
    }
}
