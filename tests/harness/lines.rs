//! The sentences of the log that tests wait for or count, where no state, code or metric shows the event.
//!
//! Each is here and nowhere else in the tests of the binary: reword it here.
//! `documents::messages` holds every one of them against the sources.

/// Names sentences, and lists them all.
macro_rules! lines {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        $($(#[$doc])* pub const $name: &str = $text;)+
        /// Every sentence by its name.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $text)),+];
    };
}

lines! {
    /// A start takes over the published set.
    ADOPTED = "adopted the published set";
    /// A generation is published; the quotes tell it from longer sentences.
    PUBLISHED = "\"published\"";
    /// An adopted set that is due can't be renewed.
    SERVES_ON = "could not be renewed and stays";
    /// A start has failed, and tries once more.
    RETRIES = "the start has not succeeded yet; trying again";
    /// A set was read for, and provisioned once more.
    PROVISIONED_AGAIN = "provisioned again";
    /// `GET` of the provision route gives a new account each time.
    READING_PROVISIONS = "this vault provisions at each read";

    /// Entries of one identity have the same key with other values, as the seed's have.
    ENTRIES_DIFFER = " have different values for ";
    /// An identity keeps its last good version.
    HELD_BACK = "held back: its last good version stays published";
    /// An identity that was held back is renewed.
    FRESH = "no longer held back";
    /// Renewal as a whole works after failures.
    WORKS = "renewal works again";
    /// The top of the output directory has more names than are looked at.
    CROWDED = "has too many names to look at";
    /// A generation's name is taken by what is not the agent's.
    LEFT = "left what has a generation's name";
    /// A generation of the agent's can't be removed.
    NOT_REMOVED = "can't be removed and is left";
    /// What the vault no longer has is no longer published.
    REMOVED = "the agent removes its published files";
    /// Published files were altered, and their generation is gone.
    NOT_PUT_BACK = "can't be restored";
    /// inotify has no room.
    NOT_WATCHED = "the agent can't watch";
    /// The vault can't be asked to deprovision the set.
    NOT_DEPROVISIONED = "could not be deprovisioned";

    /// `exec` starts its command.
    STARTED = "started the command";
    /// `exec` ends its command for a change, after a wait that the field `within` bounds.
    SPLAYING = "the command will be stopped";
    /// `exec` sends its command the signal that stops it.
    STOPPING = "stopping the command";
    /// A command can't be started with the new set.
    RUNS_ON = "the command keeps running with the values that it has";

    /// `exec` reads what another agent publishes.
    READS = "reading the set that another agent publishes";
    /// A reader has nothing to read yet.
    WAITS = "waiting until another agent publishes a set";
    /// A reader sees another generation; the quote tells it from [`SPLAYING`].
    CHANGED = "the set has changed\"";

    /// The main process can be notified after it could not.
    NOTIFIED_AGAIN = "can be notified again";
    /// The process's default action for the signal would end it.
    WITHHELD = "which would end it: the signal is not sent";
    /// No process has the name.
    NO_PROCESS = "the agent does not see";
    /// No process ever had the name.
    NEVER_A_PROCESS = "was never seen";
    /// The PID file is missing.
    NO_PID_FILE = "there is no PID file";
    /// The process that the PID file names is gone.
    STALE_PID_FILE = "is stale: there is no process";
    /// The PID file names the agent.
    OWN_PID = "which is the agent itself";
    /// The PID file names a process that is not the pod's main one.
    OTHER_PID = "which is not the main process";
    /// The notify URL's port is closed.
    NOBODY_LISTENS = "no server listens at";
}
