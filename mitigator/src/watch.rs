//! `Watch`: notices when the filter is off an interface that the agent protects, as when that is deleted, and
//! attaches anew when there is one of its name.

use anyhow::Result;

use crate::config::{Capacities, ModeChoice};
use crate::kernel::attachment::{self, Attachment, ForeignProgram};
use crate::kernel::pins::Pins;

/// Looks between two attempts to attach, at most; each costs a load of the program.
const MOST_LOOKS_BETWEEN: u32 = 15;

/// How the agent attaches.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Where links are pinned.
    pub pins: Pins,
    /// The mode that was asked for.
    pub mode: ModeChoice,
    /// What to do about somebody else's program.
    pub foreign: ForeignProgram,
    /// For maps that are not there yet.
    pub capacities: Capacities,
}

impl Terms {
    /// Attaches to `interface`.
    ///
    /// # Errors
    ///
    /// As [`attachment::attach`].
    pub fn attach(&self, interface: &str) -> Result<Attachment> {
        attachment::attach(&self.pins, interface, self.mode, self.foreign, &self.capacities)
    }
}

/// What became of an interface.
#[derive(Debug)]
pub enum Change {
    /// In plain words, for the operator to act on.
    Alarm(String),
    /// It is protected again.
    Attached(Attachment),
}

/// The interfaces of one agent.
#[derive(Debug)]
pub struct Watch {
    terms: Terms,
    interfaces: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Attached,
    /// Nothing is filtered there, and it was told.
    Off,
    /// Nothing is filtered there, because attaching failed, and it was told.
    Failed {
        /// Looks from one attempt to the next.
        looks_between: u32,
        looks_left: u32,
    },
}

impl Watch {
    /// A watch over interfaces that are attached.
    #[must_use]
    pub fn over(interfaces: &[String], terms: Terms) -> Self {
        let watched = |name: &String| Watched { name: name.clone(), state: State::Attached };
        Self { terms, interfaces: interfaces.iter().map(watched).collect() }
    }

    /// Looks at each interface; what changed since the last look, and whether each could be looked at.
    pub fn look(&mut self) -> (Vec<Change>, Result<()>) {
        let (mut changes, mut outcome) = (Vec::new(), Ok(()));
        for watched in &mut self.interfaces {
            if let Err(error) = watched.look(&self.terms, &mut changes) {
                outcome = Err(error);
            }
        }
        (changes, outcome)
    }
}

impl Watched {
    fn look(&mut self, terms: &Terms, changes: &mut Vec<Change>) -> Result<()> {
        let name = &self.name;
        if matches!(self.state, State::Attached) {
            if attachment::stands(&terms.pins, name)? {
                return Ok(());
            }
            self.state = State::Off;
            let what = if attachment::is_there(name) {
                format!("the filter is off `{name}`, which was made anew, or somebody took it off")
            } else {
                format!("the interface `{name}` is gone: nothing is filtered there until it is back")
            };
            changes.push(Change::Alarm(what));
        }
        if !attachment::is_there(name) {
            self.state = State::Off;
            return Ok(());
        }
        let looks_between = match &mut self.state {
            State::Failed { looks_left, .. } if *looks_left > 1 => {
                *looks_left -= 1;
                return Ok(());
            }
            State::Failed { looks_between, .. } => (*looks_between * 2).min(MOST_LOOKS_BETWEEN),
            State::Attached | State::Off => 1,
        };
        match terms.attach(name) {
            Ok(attachment) => {
                self.state = State::Attached;
                changes.push(Change::Attached(attachment));
            }
            Err(error) => {
                if matches!(self.state, State::Off) {
                    changes.push(Change::Alarm(format!(
                        "nothing is filtered on `{name}`, to be tried again and again: {error:#}"
                    )));
                }
                self.state = State::Failed { looks_between, looks_left: looks_between };
            }
        }
        Ok(())
    }
}
