use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use super::*;
use crate::model::Outcome;
use crate::os::clock::Deadline;
use crate::render::FileSet;
use crate::render::bundle::Entries;
use crate::render::tests::bundle;
use crate::store::state::SecretState;
use crate::store::state::tests::{origin, state};
use crate::store::{CurrentSet, WriteError};
use crate::vault::fake::expects_no_read;

const HOUR: Duration = Duration::from_secs(3600);

fn db() -> SecretName {
    SecretName::new("db").unwrap()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A vault that gives one kind of answer to every POST.
struct Answering(Option<fn() -> Cause>);

fn unknown() -> Cause {
    Cause::Broken
}

fn refused() -> Cause {
    Cause::RateLimited { after: None }
}

impl Source for Answering {
    fn end_by(&mut self, _: Deadline) {}

    async fn provision(&mut self, name: &SecretName) -> Result<SecretSet, FetchError> {
        match self.0 {
            Some(cause) => {
                Err(FetchError { attempt: Attempt::Provision(name.clone()), cause: cause() })
            }
            None => {
                let mut answer = bundle(&[(name.as_str(), &[&[("password", "p")]])]);
                Ok(answer.secrets.remove(name).unwrap())
            }
        }
    }

    expects_no_read!();

    fn id(&self, _: &SecretName) -> Option<&str> {
        None
    }

    async fn deprovision(&mut self, _: Attempt, _: &str) -> Result<(), FetchError> {
        panic!("nothing is deprovisioned")
    }
}

/// A place that keeps nothing but the record.
#[derive(Clone, Debug, Default)]
struct Record(Rc<RefCell<Option<Pending>>>);

impl Backend for Record {
    fn current_set(&self) -> Option<CurrentSet> {
        None
    }

    fn replaced(&self) -> Option<Entries> {
        None
    }

    fn publish(
        &mut self,
        _: &FileSet<'_>,
        _: &mut State,
        _: SystemTime,
    ) -> Result<Outcome, WriteError> {
        panic!("nothing is published")
    }

    fn save(&self, _: &State) -> Result<(), WriteError> {
        Ok(())
    }

    fn record_pending(&self, pending: &Pending) -> Result<(), WriteError> {
        *self.0.borrow_mut() = Some(pending.clone());
        Ok(())
    }

    fn pending_record(&self) -> Option<Pending> {
        self.0.borrow().clone()
    }

    fn clear_pending(&self) {
        *self.0.borrow_mut() = None;
    }

    fn sweep(&self) {}

    fn remove(&mut self) {}
}

impl Record {
    /// Restores the record as the next process does.
    fn restarted(&self, now: Duration) -> Posts {
        Posts::new(self.pending(&origin()), now)
    }

    async fn post(
        &self,
        posts: &mut Posts,
        cause: Option<fn() -> Cause>,
        version: Option<&str>,
        at: Duration,
    ) {
        let record = |posts: &mut Posts| posts.save(self, &origin(), at);
        posts.post(&mut Answering(cause), &db(), version, at, record).await.ok();
        posts.save(self, &origin(), at).unwrap();
    }
}

#[tokio::test]
async fn three_posts_of_unknown_fate_are_sent_and_then_one_an_hour_across_restarts() {
    let record = Record::default();
    for sent in 0..3 {
        let mut posts = record.restarted(at(sent));
        assert!(posts.may_post(&db(), None, at(sent)), "{sent}");
        record.post(&mut posts, Some(unknown), None, at(sent)).await;
    }
    for restarts in 0..3 {
        let posts = record.restarted(at(10 + restarts));
        assert!(!posts.may_post(&db(), None, at(10 + restarts)) && posts.is_unsettled(&db()));
    }
    assert!(!record.restarted(at(3601)).may_post(&db(), None, at(3601)));
    let mut posts = record.restarted(at(3602));
    assert!(posts.may_post(&db(), None, at(3602)));
    record.post(&mut posts, Some(unknown), None, at(3602)).await;
    assert!(!record.restarted(at(3603)).may_post(&db(), None, at(3603)));
}

#[tokio::test]
async fn a_boot_in_between_shortens_no_wait() {
    let record = Record::default();
    let mut posts = Posts::default();
    for _ in 0..3 {
        record.post(&mut posts, Some(unknown), None, at(90_000)).await;
    }
    assert!(!record.restarted(at(60)).may_post(&db(), None, at(60)));
    assert!(record.restarted(at(60)).may_post(&db(), None, HOUR));
}

#[tokio::test]
async fn a_refused_post_counts_for_nothing() {
    let record = Record::default();
    let mut posts = Posts::default();
    for _ in 0..10 {
        record.post(&mut posts, Some(refused), None, at(1)).await;
        assert!(posts.may_post(&db(), None, at(1)) && posts.own().is_empty());
        assert!(record.0.borrow().is_none(), "nothing is to be read");
    }
}

#[tokio::test]
async fn an_answer_counts_until_its_set_is_published_or_deprovisioned() {
    let record = Record::default();
    let mut posts = Posts::default();
    record.post(&mut posts, None, None, at(1)).await;
    assert_eq!(record.restarted(at(1)).unsettled(), [db()], "a crash would lose the answer");
    posts.deprovisioned(&BTreeSet::from([db()]));
    posts.save(&record, &origin(), at(2)).unwrap();
    assert!(record.0.borrow().is_none());
    record.post(&mut posts, Some(unknown), None, at(3)).await;
    posts.deprovisioned(&BTreeSet::from([db()]));
    posts.save(&record, &origin(), at(4)).unwrap();
    let posted = record.0.borrow().clone().unwrap();
    assert!(posted.identities.is_empty() && posted.posts.iter().all(|posted| posted.unknown == 1));
    posts.published();
    posts.save(&record, &origin(), at(5)).unwrap();
    assert!(record.0.borrow().is_none());
}

#[tokio::test]
async fn a_version_is_replaced_by_two_posts_at_most_five_minutes_apart() {
    let record = Record::default();
    let mut posts = Posts::default();
    assert!(posts.may_replace(&db(), "1", at(1_000)));
    record.post(&mut posts, None, Some("1"), at(1_000)).await;
    posts.learn(&db(), "1");
    posts.save(&record, &origin(), at(1_000)).unwrap();
    for (now, expected) in [(1_299, false), (1_300, true)] {
        assert_eq!(record.restarted(at(now)).may_replace(&db(), "1", at(now)), expected, "{now}");
    }
    record.post(&mut posts, None, Some("1"), at(1_300)).await;
    posts.learn(&db(), "1");
    posts.save(&record, &origin(), at(1_300)).unwrap();
    assert!(!record.restarted(at(99_999)).may_replace(&db(), "1", at(99_999)));
    posts.learn(&db(), "2");
    posts.save(&record, &origin(), at(1_301)).unwrap();
    assert!(!record.restarted(at(1_301)).may_replace(&db(), "2", at(1_301)), "it is too soon");
    assert!(record.restarted(at(1_600)).may_replace(&db(), "2", at(1_600)));
}

#[tokio::test]
async fn a_refused_replacement_is_sent_again_after_five_minutes() {
    let (record, mut posts) = (Record::default(), Posts::default());
    for now in [1_000, 1_300, 1_600, 1_900] {
        assert!(!posts.may_replace(&db(), "1", at(now - 1)) || now == 1_000);
        assert!(posts.may_replace(&db(), "1", at(now)), "{now}");
        record.post(&mut posts, Some(refused), Some("1"), at(now)).await;
    }
}

#[test]
fn a_record_of_version_0_1_0_is_read_for() {
    let pending = Pending { origin: origin(), identities: vec![db()], posts: Vec::new() };
    let posts = Posts::new(Some(pending), at(100));
    assert!(posts.is_unsettled(&db()) && posts.may_post(&db(), None, at(100)));
}

#[tokio::test]
async fn a_published_set_meets_its_first_need_and_those_of_earlier_versions() {
    let secrets = bundle(&[("db", &[&[("password", "p")]])]).secrets;
    let secrets = secrets.iter().map(|(name, set)| SecretState::of(name, set, None, at(0)));
    let secrets = secrets.map(|secret| SecretState { version: "2".to_owned(), ..secret });
    let published = State { secrets: secrets.collect(), ..state() };
    for (version, counts) in [(None, false), (Some("1"), false), (Some("2"), true)] {
        let (record, mut posts) = (Record::default(), Posts::default());
        for _ in 0..3 {
            record.post(&mut posts, Some(unknown), version, at(10)).await;
        }
        posts.adopt(&published);
        assert_eq!(posts.may_post(&db(), Some("2"), at(20)), !counts, "{version:?}");
        assert!(posts.may_post(&db(), None, at(20)), "another need of a first set");
        assert_eq!(posts.is_unsettled(&db()), counts, "{version:?}");
    }
}

#[tokio::test]
async fn a_post_that_cannot_be_recorded_is_not_sent() {
    let mut posts = Posts::default();
    let full = |_: &mut Posts| Err(Cause::Unrecorded { text: "full".to_owned(), hint: None });
    let sent = posts.post(&mut Answering(None), &db(), None, at(1), full).await;
    assert!(matches!(sent, Err(FetchError { cause: Cause::Unrecorded { .. }, .. })));
    assert!(posts.own().is_empty() && !posts.is_unsettled(&db()));
}
