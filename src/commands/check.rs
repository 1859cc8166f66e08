//! `check`: answers an exec probe from the output directory. No network, no writing, no runtime.

use super::runtime::{invalid, show};
use crate::config::raw::Raw;
use crate::config::settings::{Checked, Watched};
use crate::exit::{Exit, Failure};
use crate::os::clock;
use crate::probes::{Facts, Question, Verdict};
use crate::store::inspect::look;

/// Answers a probe in one line on stdout, and by the exit code.
pub fn run(raw: &Raw, question: Question) -> Result<Exit, Failure> {
    let checked = Checked::from_raw(raw).map_err(|problems| invalid(&problems))?;
    let verdict = answer(question, &checked);
    show(verdict.line);
    Ok(if verdict.holds { Exit::Done } else { Exit::No })
}

/// Answers from the published set.
fn answer(question: Question, checked: &Checked) -> Verdict {
    let Watched { dir, max_stale, agent_uid } = match checked {
        Checked::Watched(watched) => watched,
        Checked::Nothing => {
            let line = "SEGURA_OUTPUT=none: there is nothing to check".to_owned();
            return Verdict { holds: true, line };
        }
    };
    match look(dir) {
        Ok(seen) if !seen.is_of(*agent_uid) => {
            let owner = seen.owner.unwrap_or_default();
            Verdict::no(
                question,
                &format!(
                    "the set belongs to an agent of uid {owner}, which SEGURA_AGENT_UID does not name"
                ),
            )
        }
        Ok(seen) => {
            let facts = Facts {
                place: &dir.display().to_string(),
                state: seen.state.as_ref(),
                whole: seen.whole,
                agent: seen.agent,
                boot: clock::boot(),
                max_stale: *max_stale,
            };
            let verdict = facts.verdict(question);
            match &seen.unfit {
                Some(error) if !verdict.holds => Verdict::no(question, &crate::exit::chain(error)),
                Some(_) | None => verdict,
            }
        }
        Err(error) => Verdict::no(question, &crate::exit::chain(&error)),
    }
}
