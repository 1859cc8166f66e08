//! Starts against a simulated vault, by Tokio's paused clock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::future::pending;
use std::rc::Rc;

use super::*;
use crate::config::Mounts;
use crate::config::raw::Raw;
use crate::config::settings::Destination;
use crate::model::SecretSet;
use crate::os::clock::Machine;
use crate::os::signal::TERM;
use crate::render::tests::bundle;
use crate::vault::error::{Attempt, FetchError, VaultMessage};
use crate::vault::fake::expects_no_read;

/// The vault's answer to one POST.
enum Answer {
    Secret,
    Refused,
    Unreachable,
    Hangs,
}

/// A vault that gives scripted answers in their order.
#[derive(Clone)]
struct Played {
    answers: Rc<RefCell<VecDeque<Answer>>>,
    /// The requests: `POST db`, `deprovision 7`.
    requests: Rc<RefCell<Vec<String>>>,
}

impl Played {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Rc::new(RefCell::new(answers.into_iter().collect()));
        Self { answers, requests: Rc::default() }
    }

    fn notes(&self, request: String) {
        self.requests.borrow_mut().push(request);
    }
}

impl Connect for Played {
    type Source = Self;

    fn connect(&self, _: &mut Option<Token>) -> Result<Self, FetchError> {
        Ok(self.clone())
    }

    fn end(&self, _: Self) -> Option<Token> {
        None
    }
}

impl Source for Played {
    fn end_by(&mut self, _: Deadline) {}

    async fn provision(&mut self, name: &SecretName) -> Result<SecretSet, FetchError> {
        self.notes(format!("POST {name}"));
        let answer = self.answers.borrow_mut().pop_front().expect("the script covers every POST");
        let cause = match answer {
            Answer::Secret => {
                let secrets = bundle(&[(name.as_str(), &[&[("password", "p")]])]).secrets;
                return Ok(secrets.into_values().next().expect("it is the one secret"));
            }
            Answer::Refused => Cause::Inactive(VaultMessage::default()),
            Answer::Unreachable => Cause::Unconnected("connection refused".to_owned()),
            Answer::Hangs => pending().await,
        };
        Err(FetchError { attempt: Attempt::Provision(name.clone()), cause })
    }

    expects_no_read!();

    fn id(&self, name: &SecretName) -> Option<&str> {
        (name.as_str() == "db").then_some("7")
    }

    async fn deprovision(&mut self, _: Attempt, id: &str) -> Result<(), FetchError> {
        self.notes(format!("deprovision {id}"));
        Ok(())
    }
}

/// Starts once with this vault and `SEGURA_STARTUP_TIMEOUT`; gives the published state, and the
/// requests.
async fn start(
    vault: &Played,
    identities: &str,
    give_up_after: &str,
    ended: impl Future<Output = Signal>,
) -> (Result<State, Failure>, Vec<String>) {
    let environment = [
        ("SEGURA_URL", "https://vault.example.com"),
        ("SEGURA_CLIENT_ID", "id"),
        ("SEGURA_CLIENT_SECRET", "canary"),
        ("SEGURA_POD_NAME", "web-0"),
        ("SEGURA_IDENTITY", identities),
        ("SEGURA_STARTUP_TIMEOUT", give_up_after),
    ];
    let environment = environment.map(|(name, value)| (OsString::from(name), value.into()));
    let raw = Raw::from_environment(environment);
    let (config, _) = Config::for_sidecar(raw, Mounts::default()).unwrap().settings;
    let mut store = Store::hold(&Destination::Memory, "sidecar").unwrap();
    let origin = origin(&config).unwrap();
    let random = fastrand::Rng::with_seed(7);
    let edges = StartEdges { clock: &Machine, random, vault: vault.clone() };
    let mut start = Start::new(&config, &mut store, &origin, After::Renewal, edges);
    let first_set = start.begin(None, ended).await;
    let published = store.current_set().map(|set| set.entries.len());
    let state = first_set.map(|first_set| first_set.state);
    let names = state.as_ref().ok().map(|state| state.secrets.len());
    assert_eq!(published, names, "a set is published if the start succeeds, and whole");
    (state, vault.requests.take())
}

#[tokio::test(start_paused = true)]
async fn a_start_retries_until_the_vault_answers() {
    let answers = [Answer::Unreachable, Answer::Secret, Answer::Unreachable, Answer::Secret];
    let (state, requests) = start(&Played::new(answers), "db,mq", "off", pending()).await;
    assert_eq!(state.unwrap().generation, Generation(1));
    assert_eq!(requests, ["POST db", "POST db", "POST mq", "POST mq"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_gives_up_at_its_timeout_or_at_once_if_no_try_can_succeed() {
    let answers = std::iter::repeat_with(|| Answer::Unreachable).take(100);
    let began = Instant::now();
    let (state, _) = start(&Played::new(answers), "db", "2m", pending()).await;
    let failure = state.unwrap_err();
    assert!(failure.message.ends_with("; gave up after 2m"), "{}", failure.message);
    assert_eq!(began.elapsed(), Duration::from_secs(120));
    let (state, requests) = start(&Played::new([Answer::Refused]), "db", "2m", pending()).await;
    assert!(state.is_err());
    assert_eq!((requests, began.elapsed().as_secs()), (vec!["POST db".to_owned()], 120));
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_a_start_which_deprovisions_its_accounts() {
    let ended = async {
        sleep(Duration::from_secs(3)).await;
        TERM
    };
    let vault = Played::new([Answer::Secret, Answer::Hangs]);
    let (state, requests) = start(&vault, "db,mq", "off", ended).await;
    assert_eq!(state.unwrap_err().exit, ended_by(TERM).exit);
    assert_eq!(requests, ["POST db", "POST mq", "deprovision 7"]);
}
