//! Finding the current generation at a start, and restoring the names that another process has
//! changed.

use super::{Directory, SEAL};
use crate::exit::chain;
use crate::render::FileSet;
use crate::store::held::{HeldGeneration, Proof};
use crate::store::remove::remove;
use crate::store::seal::{self, Seal, Sealed};
use crate::store::{DATA, KEPT, PENDING, STATE, WriteError, generation, links, lock};

/// Numbers of generations from here on are no numbers of an agent.
const NO_NUMBER: u64 = 1 << 53;

impl Directory {
    /// Finds the current generation: the newest that the seal names, wherever `..data` leads. A
    /// generation without a seal, which version 0.1.0 has made, is sealed if only this agent can
    /// have made it; else it is kept, and its secrets are read before it counts.
    pub(super) fn find_current(&mut self) -> Result<(), WriteError> {
        let before = self.seal.sets.clone();
        self.generation = self.seal.highest;
        if let Some((root, sealed)) = self.seal.find(&self.dir) {
            let folder = sealed.folder.clone();
            if self.dir.link_target(DATA).as_deref() != Some(&*folder) {
                self.switch_to(&folder)?;
                tracing::warn!("restored the link ..data, which did not lead to the newest set");
            }
            self.generation = sealed.number;
            *self.held.borrow_mut() =
                Some(HeldGeneration { root, folder, proof: Proof::Sealed(sealed) });
        } else if let Some(folder) = generation::current(&self.dir)
            && let Ok(root) = self.dir.open(&folder)
        {
            let number = generation::snapshot_in(&root).map(|state| state.generation);
            let number = number.filter(|number| number.0 < NO_NUMBER).unwrap_or_default();
            let own = seal::is_own(&root) && !generation::had_seal(&root);
            self.generation = number.max(self.seal.highest);
            let proof = if own
                && number > self.seal.highest
                && let Some(sealed) = Sealed::of(&root, &folder, number)
            {
                Proof::Sealed(sealed)
            } else {
                Proof::None
            };
            *self.held.borrow_mut() = Some(HeldGeneration { root, folder, proof });
        }
        let seal = self.seal.of(self.held.borrow().as_ref().and_then(HeldGeneration::sealed));
        if seal != self.seal {
            for set in before.iter().filter(|set| !seal.names(&set.folder)) {
                if let Ok(root) = self.dir.open(&set.folder)
                    && set.is_in(&root)
                {
                    remove(&self.dir, &set.folder, root).ok();
                }
            }
            // Until it can be written, the next start finds the set as this one did.
            self.save_seal(seal);
        }
        Ok(())
    }

    /// Restores the name of the current generation's folder, if it is in the directory.
    pub(super) fn restore_folder(&self, held: &HeldGeneration) -> bool {
        let name = self.dir.find_name(|name| held.root.is_at(&self.dir, name));
        name.is_some_and(|name| lock::put_back(&self.dir, &name, &held.folder).is_ok())
    }

    /// Seals the current generation, which has turned out to be equal to the vault's answer.
    pub(super) fn seal_current(&mut self) {
        let number = self.generation;
        let sealed = match self.held.borrow_mut().as_mut() {
            Some(held) if held.sealed().is_none() => {
                let sealed = Sealed::of(&held.root, &held.folder, number);
                if let Some(sealed) = &sealed {
                    held.proof = Proof::Sealed(sealed.clone());
                }
                sealed
            }
            Some(_) | None => None,
        };
        if let Some(sealed) = sealed {
            self.save_seal(self.seal.of(Some(&sealed)));
        }
    }

    /// Writes the seal; logs a failure.
    fn save_seal(&mut self, seal: Seal) {
        if let Err(error) = self.write_seal(seal) {
            tracing::warn!(error = chain(&error), "the seal could not be written");
        }
    }

    /// Restores the missing links to the current set and the agent's own folder, and removes the
    /// links of older sets.
    pub(super) fn restore_links(&mut self, files: &FileSet<'_>) -> Result<(), WriteError> {
        self.restore_own();
        let mut missing = {
            let held = self.held.borrow();
            links::make(&self.dir, files, held.as_ref().map(|held| &held.root))?
        };
        if let Some(name) = self.current_folder()
            && self.dir.link_target(DATA).as_deref() != Some(&*name)
        {
            self.switch_to(&name)?;
            missing.push(DATA.to_owned());
        }
        if !missing.is_empty() {
            let names = missing.join(", ");
            tracing::warn!(names, "restored links that another process had removed");
        }
        // A listing opens the directory, which wakes a watcher of IN_OPEN (inotify(7)).
        if !self.no_stale_links {
            self.drop_stale(files)?;
            self.no_stale_links = true;
        }
        Ok(())
    }

    /// Restores the name of the agent's own folder, or makes the folder again where it is out of
    /// reach.
    pub(super) fn restore_own(&mut self) {
        let Err(error) = self.own.restore(&self.dir) else {
            return;
        };
        let shown = self.owners.shown();
        let kept = [SEAL, PENDING, KEPT, STATE];
        match self.own.make_again(&self.dir, &shown, self.owners.all().uid, &kept) {
            Ok(own) => self.own = own,
            Err(_) => tracing::warn!(
                error = chain(&error),
                "the agent's own folder ..segura was removed by another process and can't be restored"
            ),
        }
    }
}
