use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use super::*;
use crate::config::settings::Refresh;
use crate::model::{Fault, Item};
use crate::os::clock::{Deadline, Machine};
use crate::secret::Secret;
use crate::store::state::Settled;
use crate::vault::error::VaultMessage;

fn name(identity: &str) -> SecretName {
    SecretName::new(identity).unwrap()
}

fn set(items: &[(&str, &str)]) -> SecretSet {
    let item = |(key, value): &(&str, &str)| Item {
        key: (*key).to_owned(),
        value: Secret::new((*value).to_owned()),
    };
    SecretSet {
        id: "1".to_owned(),
        name: String::new(),
        version: "1".to_owned(),
        engine: String::new(),
        expiration: String::new(),
        renew: None,
        entries: vec![items.iter().map(item).collect()],
    }
}

const LOGIN: &[(&str, &str)] = &[("username", "u"), ("password", "p")];
const BASE: &[(&str, &str)] = &[("hostname", "h"), ("username", "u"), ("password", "")];

type Items = &'static [(&'static str, &'static str)];

/// The scripted vault's answer to one request.
enum Reply {
    Set(Items),
    Fails(Cause),
}

fn hung() -> Reply {
    Reply::Fails(Cause::TimedOut(Duration::from_secs(1)))
}

fn no_route() -> Reply {
    Reply::Fails(Cause::TurnedAway { status: 404, message: VaultMessage::default() })
}

fn limited() -> Reply {
    Reply::Fails(Cause::RateLimited { after: None })
}

/// Answers in order; a request beyond the script is a failed test.
#[derive(Default)]
struct Script {
    posts: VecDeque<Reply>,
    reads: VecDeque<Reply>,
    lists: VecDeque<Vec<(&'static str, Items)>>,
    log: Vec<&'static str>,
}

impl Script {
    fn answer(attempt: Attempt, reply: Option<Reply>) -> Result<SecretSet, FetchError> {
        match reply.expect("the script covers every request") {
            Reply::Set(items) => Ok(set(items)),
            Reply::Fails(cause) => Err(FetchError { attempt, cause }),
        }
    }
}

impl Source for Script {
    fn end_by(&mut self, _: Deadline) {}

    async fn provision(&mut self, name: &SecretName) -> Result<SecretSet, FetchError> {
        self.log.push("post");
        Self::answer(Attempt::Provision(name.clone()), self.posts.pop_front())
    }

    async fn read_provisioned(&mut self, name: &SecretName) -> Result<SecretSet, FetchError> {
        self.log.push("read");
        Self::answer(Attempt::ReadProvisioned(name.clone()), self.reads.pop_front())
    }

    async fn read_application(&mut self) -> Result<Bundle, FetchError> {
        self.log.push("list");
        let listed = self.lists.pop_front().expect("the script covers every request");
        let secrets = listed.into_iter().map(|(identity, items)| (name(identity), set(items)));
        Ok(Bundle { secrets: secrets.collect(), ..Bundle::default() })
    }

    async fn read_secrets(&mut self) -> Result<Bundle, FetchError> {
        self.read_application().await
    }

    async fn read_secret(&mut self, name: &SecretName) -> Result<SecretSet, FetchError> {
        self.read_provisioned(name).await
    }

    fn id(&self, _: &SecretName) -> Option<&str> {
        None
    }

    async fn deprovision(&mut self, _: Attempt, _: &str) -> Result<(), FetchError> {
        Ok(())
    }
}

fn wanted(source: FetchMode, identities: &[&str]) -> Wanted {
    let identities = identities.iter().map(|identity| name(identity)).collect();
    Wanted { source, refresh: Refresh::Auto, identities }
}

/// Tries until it succeeds or has failed `tries` times; gives the requests as well.
async fn run(
    mut script: Script,
    pending: &[&str],
    identities: &[&str],
    tries: usize,
) -> (Option<Bundle>, Vec<&'static str>, FirstFetch) {
    let wanted = wanted(FetchMode::Provision, identities);
    let mut posts = Posts::default();
    pending.iter().for_each(|identity| posts.read_first(name(identity)));
    let mut first_fetch = FirstFetch::new(posts);
    for _ in 0..tries {
        let tried = first_fetch.attempt(&mut script, &wanted, &Machine, |_| Ok(())).await;
        if let Ok(bundle) = tried {
            return (Some(bundle), script.log, first_fetch);
        }
    }
    (None, script.log, first_fetch)
}

#[tokio::test]
async fn a_plain_start_posts_once_for_each_identity() {
    let posts = [Reply::Set(LOGIN), Reply::Set(BASE)].into();
    let (bundle, log, first_fetch) =
        run(Script { posts, ..Script::default() }, &[], &["a", "b"], 1).await;
    assert_eq!(bundle.unwrap().secrets.len(), 2);
    assert_eq!(log, ["post", "post"]);
    assert_eq!(first_fetch.posts.own().len(), 2);
}

#[tokio::test]
async fn a_provisioned_identity_is_kept_while_another_is_retried() {
    let posts = [Reply::Set(LOGIN), limited(), limited(), Reply::Set(LOGIN)].into();
    let (bundle, log, _) = run(Script { posts, ..Script::default() }, &[], &["a", "b"], 3).await;
    assert_eq!(bundle.unwrap().secrets.len(), 2);
    assert_eq!(log, ["post", "post", "post", "post"]);
}

#[tokio::test]
async fn a_post_of_unknown_fate_is_followed_by_a_read_that_may_find_it() {
    let (posts, reads) = ([hung()].into(), [limited(), Reply::Set(LOGIN)].into());
    let (bundle, log, _) = run(Script { posts, reads, ..Script::default() }, &[], &["a"], 3).await;
    assert!(bundle.is_some());
    assert_eq!(log, ["post", "read", "read"]);
}

#[tokio::test]
async fn a_post_is_repeated_only_if_no_account_is_found_and_three_times_at_most() {
    let posts = [hung(), hung(), hung()].into();
    let absent = || Reply::Fails(Cause::Absent(name("a")));
    let empty = || Reply::Fails(Cause::Fault(Fault::Empty { identity: name("a") }));
    let reads = [Reply::Set(BASE), absent(), empty(), Reply::Set(BASE), Reply::Set(LOGIN)].into();
    let (bundle, log, _) = run(Script { posts, reads, ..Script::default() }, &[], &["a"], 6).await;
    assert!(bundle.is_some(), "reading goes on after the last POST");
    assert_eq!(log, ["post", "read", "post", "read", "post", "read", "read", "read"]);
}

/// A clock that is set by hand.
#[derive(Debug, Default)]
struct SetByHand(Cell<Duration>);

impl Clock for SetByHand {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.boot()
    }

    fn boot(&self) -> Duration {
        self.0.get()
    }

    fn until(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn an_hour_after_the_third_post_of_unknown_fate_a_fourth_is_sent() {
    let clock = SetByHand::default();
    let wanted = wanted(FetchMode::Provision, &["a"]);
    let posts = [hung(), hung(), hung(), Reply::Set(LOGIN)].into();
    let reads = std::iter::repeat_with(|| Reply::Set(BASE)).take(5).collect();
    let mut script = Script { posts, reads, ..Script::default() };
    let mut first_fetch = FirstFetch::default();
    for (minute, done) in [(0, false), (1, false), (2, false), (3, false), (61, false), (62, true)]
    {
        clock.0.set(Duration::from_secs(minute * 60));
        let tried = first_fetch.attempt(&mut script, &wanted, &clock, |_| Ok(())).await;
        assert_eq!(tried.is_ok(), done, "{minute}: {:?}", script.log);
    }
    let (two, one) = (["post", "read", "post", "read", "post"], ["read", "read", "read", "post"]);
    assert_eq!(script.log, [&two[..], &one].concat());
}

#[tokio::test]
async fn reads_that_show_nothing_leave_a_post_within_the_three() {
    let page =
        || Reply::Fails(Cause::TokenRefused { status: 403, message: VaultMessage::default() });
    let posts = [hung(), hung(), hung()].into();
    let reads = std::iter::repeat_with(page).take(6).collect();
    let (bundle, log, _) = run(Script { posts, reads, ..Script::default() }, &[], &["a"], 7).await;
    assert!(bundle.is_none());
    assert_eq!(log.iter().filter(|request| **request == "post").count(), 3);
    assert_eq!(log, ["post", "read", "read", "post", "read", "read", "post", "read", "read"]);
}

#[tokio::test]
async fn a_faulty_account_is_read_until_it_is_sound() {
    let fault = || {
        let cause = Fault::Data { identity: name("a") };
        Reply::Fails(Cause::Fault(cause))
    };
    let (posts, reads) = ([fault()].into(), [fault(), fault(), Reply::Set(LOGIN)].into());
    let (bundle, log, first_fetch) =
        run(Script { posts, reads, ..Script::default() }, &[], &["a"], 4).await;
    assert!(bundle.is_some());
    assert_eq!(log, ["post", "read", "read", "read"]);
    assert!(first_fetch.posts.own().is_empty(), "it is read for by the next start");
}

#[tokio::test]
async fn a_refused_post_is_forgotten() {
    let posts = [limited(), Reply::Set(LOGIN)].into();
    let script = Script { posts, ..Script::default() };
    let (bundle, log, _) = run(script, &[], &["a"], 2).await;
    assert!(bundle.is_some());
    assert_eq!(log, ["post", "post"]);
    let script = Script { posts: [limited()].into(), ..Script::default() };
    let (_, _, first_fetch) = run(script, &[], &["a"], 1).await;
    assert!(first_fetch.posts.own().is_empty(), "nothing is there to be given back");
}

#[tokio::test]
async fn a_refused_post_does_not_settle_the_fate_of_an_earlier_one() {
    let posts = [hung(), limited(), Reply::Set(LOGIN)].into();
    let reads = [Reply::Set(BASE), Reply::Set(BASE)].into();
    let (bundle, log, first_fetch) =
        run(Script { posts, reads, ..Script::default() }, &[], &["a"], 3).await;
    assert!(bundle.is_some());
    assert_eq!(log, ["post", "read", "post", "read", "post"]);
    assert_eq!(first_fetch.posts.own().len(), 1);
}

#[tokio::test]
async fn a_post_of_an_earlier_agent_is_followed_by_a_read_first() {
    let reads = [Reply::Set(LOGIN)].into();
    let (bundle, log, _) = run(Script { reads, ..Script::default() }, &["a"], &["a"], 1).await;
    assert!(bundle.is_some());
    assert_eq!(log, ["read"]);
}

#[tokio::test]
async fn without_a_get_route_the_list_is_read_if_it_holds_the_account_of_the_pod() {
    let (posts, reads) = ([hung()].into(), [no_route(), no_route()].into());
    let lists = [vec![("a", LOGIN)]].into();
    let script = Script { posts, reads, lists, ..Script::default() };
    let (bundle, log, first_fetch) = run(script, &[], &["a"], 3).await;
    assert!(bundle.is_some());
    assert_eq!(log, ["post", "read", "read", "list"]);
    assert_eq!(first_fetch.settled(), Settled::Application);
}

#[tokio::test]
async fn a_list_without_the_accounts_of_pods_settles_no_route() {
    let (posts, reads) = ([hung(), Reply::Set(LOGIN)].into(), [no_route(), no_route()].into());
    let lists = [vec![("a", BASE)]].into();
    let script = Script { posts, reads, lists, ..Script::default() };
    let (bundle, log, first_fetch) = run(script, &[], &["a"], 4).await;
    assert!(bundle.is_some());
    assert_eq!(log, ["post", "read", "read", "list", "post"]);
    assert_eq!(first_fetch.settled(), Settled::Get);
}

#[tokio::test]
async fn a_passing_fault_or_a_list_without_an_identity_settles_no_route() {
    let wanted = wanted(FetchMode::Provision, &["a"]);
    let mut route = ReadRoute::default();
    let reads = [no_route(), Reply::Set(LOGIN), no_route(), no_route(), no_route()].into();
    let lists = [vec![("b", LOGIN)], vec![("b", LOGIN)]].into();
    let mut script = Script { reads, lists, ..Script::default() };
    for expected in [false, true, false, false, false] {
        let read = reread(&mut script, &wanted, &wanted.identities, &mut route).await;
        assert_eq!(read.failed.is_empty() && read.cut.is_none(), expected);
    }
    assert_eq!(route.settled(), Settled::Get);
}

#[tokio::test]
async fn every_posted_identity_is_recorded_before_each_post() {
    let wanted = wanted(FetchMode::Provision, &["a", "b"]);
    let posts = [Reply::Set(LOGIN), Reply::Set(LOGIN)].into();
    let mut script = Script { posts, ..Script::default() };
    let mut noted = Vec::new();
    let mut first_fetch = FirstFetch::default();
    let record = |posts: &mut Posts| {
        noted.push(posts.unsettled().len());
        Ok(())
    };
    first_fetch.attempt(&mut script, &wanted, &Machine, record).await.unwrap();
    assert_eq!(noted, [1, 2]);
}

#[tokio::test]
async fn a_list_is_all_or_nothing() {
    for (identities, listed, expected) in [
        (&["a", "b"][..], vec![("a", LOGIN), ("b", LOGIN), ("c", LOGIN)], Some(2)),
        (&["a", "b"], vec![("a", LOGIN)], None),
        (&[], vec![("a", LOGIN), ("c", LOGIN)], Some(2)),
        (&[], vec![], None),
    ] {
        let wanted = wanted(FetchMode::Application, identities);
        let mut script = Script { lists: [listed].into(), ..Script::default() };
        let mut first_fetch = FirstFetch::default();
        let got = first_fetch.attempt(&mut script, &wanted, &Machine, |_| Ok(())).await;
        assert_eq!(got.ok().map(|bundle| bundle.secrets.len()), expected, "{identities:?}");
    }
    let fault = Fault::Data { identity: name("a") };
    let bundle = Bundle { faults: vec![fault], ..Bundle::default() };
    let error = whole(bundle, &[], Attempt::ReadApplication).unwrap_err();
    assert!(matches!(error.cause, Cause::Fault(_)));
}

fn names(identities: &[&str]) -> Vec<SecretName> {
    identities.iter().map(|identity| name(identity)).collect()
}

#[tokio::test]
async fn a_later_fetch_fails_or_succeeds_by_identity() {
    let (missing, broken) = (Cause::Absent(name("b")), Cause::Broken);
    let reads = [Reply::Set(LOGIN), Reply::Fails(missing), Reply::Fails(broken)].into();
    let mut script = Script { reads, ..Script::default() };
    let wanted = wanted(FetchMode::Provision, &["a", "b", "c"]);
    let mut route = ReadRoute::default();
    let renewed = reread(&mut script, &wanted, &wanted.identities, &mut route).await;
    assert!(renewed.fresh.secrets.keys().eq([&name("a")]));
    assert!(renewed.failed.keys().eq([&name("b"), &name("c")]));
    assert!(renewed.cut.is_none());
}

#[tokio::test]
async fn a_failure_that_any_identity_would_meet_ends_the_pass() {
    let refused = Cause::ClientRefused(VaultMessage::default());
    let reads = [Reply::Set(LOGIN), Reply::Fails(refused)].into();
    let mut script = Script { reads, ..Script::default() };
    let wanted = wanted(FetchMode::Provision, &["a", "b", "c"]);
    let renewed = reread(&mut script, &wanted, &wanted.identities, &mut ReadRoute::default()).await;
    assert!(renewed.fresh.holds(&name("a")) && renewed.failed.is_empty());
    assert!(matches!(renewed.cut, Some(FetchError { cause: Cause::ClientRefused(_), .. })));
    assert_eq!(script.log, ["read", "read"]);
}

#[tokio::test]
async fn a_list_shows_new_and_missing_secrets_and_that_it_is_empty() {
    let everything = wanted(FetchMode::Application, &[]);
    let one = wanted(FetchMode::Application, &["a"]);
    for (wanted, known, fresh, failed, cut) in [
        (&everything, &["a", "gone"][..], &["a", "new"][..], &["gone"][..], false),
        (&one, &["a"], &["a"], &[], false),
        (&one, &["a", "gone"], &["a"], &["gone"], false),
    ] {
        let lists = [vec![("a", LOGIN), ("new", LOGIN)]].into();
        let mut script = Script { lists, ..Script::default() };
        let renewed = reread(&mut script, wanted, &names(known), &mut ReadRoute::default()).await;
        assert!(renewed.fresh.secrets.keys().eq(&names(fresh)), "{known:?}");
        assert!(renewed.failed.keys().eq(&names(failed)), "{known:?}");
        assert!(renewed.failed.values().all(FetchError::is_missing));
        assert_eq!(renewed.cut.is_some(), cut);
    }
    let mut empty = Script { lists: [vec![]].into(), ..Script::default() };
    let renewed = reread(&mut empty, &everything, &[], &mut ReadRoute::default()).await;
    assert!(matches!(renewed.cut, Some(FetchError { cause: Cause::NoSecrets, .. })));
}

#[tokio::test]
async fn the_list_tells_a_missing_secret_from_a_missing_route() {
    for (listed, missing) in [(vec![("a", LOGIN)], true), (vec![("b", LOGIN)], false)] {
        let (reads, lists) = ([no_route()].into(), [listed].into());
        let mut script = Script { reads, lists, ..Script::default() };
        let wanted = wanted(FetchMode::Secret, &["b"]);
        let renewed =
            reread(&mut script, &wanted, &wanted.identities, &mut ReadRoute::default()).await;
        let error = renewed.failed.get(&name("b")).unwrap();
        assert_eq!(error.is_missing(), missing);
    }
}

#[test]
fn a_lifetime_is_the_ttl_of_an_entry_that_holds_a_credential() {
    for (items, seconds) in [
        (&[("username", "u"), ("password", "p"), ("TTL", "60")][..], Some(60)),
        (&[("username", "u"), ("TTL", "60")], None),
        (&[("password", "p"), ("TTL", "0")], None),
        (&[("password", "p"), ("TTL", "")], None),
        (&[("password", "p"), ("ttl", "60")], None),
    ] {
        assert_eq!(lifetime(&set(items)), seconds.map(Duration::from_secs), "{items:?}");
    }
}
