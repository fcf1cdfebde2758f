//! A suite is a list of trials, each with what it needs; what could not run is shown as ignored, never as passed.
//!
//! Under `CI=true` a trial whose needs are not met fails with the reason, so that a build machine that lost its
//! rights is noticed. Trials that share the kernel (namespaces, pins) run one at a time; the others in parallel.

use std::fmt;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed};

use crate::lab::missing_for_bpf;

static KERNEL: Mutex<()> = Mutex::new(());

/// What a trial needs from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any machine, any user.
    Nothing,
    /// Root's capabilities, bpf(2) and the BPF file system, `ip`.
    Root,
}

type Body = Box<dyn FnOnce() -> anyhow::Result<()> + Send>;

/// One test, by a name that is a sentence.
pub struct Trial {
    name: String,
    needs: Needs,
    run: Body,
}

impl Trial {
    /// A trial that passes when `run` returns `Ok` and does not panic.
    pub fn new<E>(
        name: impl Into<String>,
        needs: Needs,
        run: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> Self
    where
        E: Into<anyhow::Error>,
    {
        Self { name: name.into(), needs, run: Box::new(move || run().map_err(Into::into)) }
    }

    fn into_libtest(self, missing: &[String], unmet: Unmet) -> libtest_mimic::Trial {
        let Self { name, needs, run } = self;
        let kind = match needs {
            Needs::Nothing => "",
            Needs::Root => "root",
        };
        let (ignored, body): (bool, Box<dyn FnOnce() -> Result<(), Failed> + Send>) =
            match Fate::of(needs, missing, unmet) {
                Fate::Run => (false, Box::new(move || run_in_turn(needs, run))),
                Fate::Ignore(reason) => (true, Box::new(move || Err(reason.into()))),
                Fate::Fail(reason) => (false, Box::new(move || Err(reason.into()))),
            };
        libtest_mimic::Trial::test(name, body).with_kind(kind).with_ignored_flag(ignored)
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}

/// What becomes of trials whose needs are not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unmet {
    Ignored,
    Failed,
}

/// What happens to a trial on this machine.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Run,
    Ignore(String),
    Fail(String),
}

impl Fate {
    fn of(needs: Needs, missing: &[String], unmet: Unmet) -> Self {
        if needs == Needs::Nothing || missing.is_empty() {
            return Self::Run;
        }
        let reason = format!("could not run: {}", missing.join("; "));
        match unmet {
            Unmet::Ignored => Self::Ignore(reason),
            Unmet::Failed => Self::Fail(reason),
        }
    }
}

/// Runs a suite as `cargo test` expects it of a binary with `harness = false`: the whole of its `main`.
#[must_use]
pub fn run(trials: Vec<Trial>) -> ExitCode {
    let arguments = Arguments::from_args();
    let unmet = match std::env::var("CI") {
        Ok(value) if value == "true" => Unmet::Failed,
        _ => Unmet::Ignored,
    };
    let privileged = trials.iter().any(|trial| trial.needs == Needs::Root);
    let missing = if privileged { missing_for_bpf() } else { Vec::new() };
    if unmet == Unmet::Ignored && !missing.is_empty() && !arguments.list {
        eprintln!("trials marked [root] are ignored: {}", missing.join("; "));
    }
    let trials = trials.into_iter().map(|trial| trial.into_libtest(&missing, unmet)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run_in_turn(needs: Needs, run: Body) -> Result<(), Failed> {
    // A trial that panicked has cleaned up on its way out; the next one may use the kernel.
    let _turn = (needs == Needs::Root).then(|| KERNEL.lock().unwrap_or_else(PoisonError::into_inner));
    run().map_err(|error| Failed::from(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_run_is_ignored_or_failed_but_never_passed() {
        let nothing: &[String] = &[];
        let something: &[String] = &["a right".to_owned(), "a tool".to_owned()];
        let reason = || "could not run: a right; a tool".to_owned();
        for (needs, missing, unmet, expected) in [
            (Needs::Nothing, something, Unmet::Failed, Fate::Run),
            (Needs::Root, nothing, Unmet::Failed, Fate::Run),
            (Needs::Root, something, Unmet::Ignored, Fate::Ignore(reason())),
            (Needs::Root, something, Unmet::Failed, Fate::Fail(reason())),
        ] {
            assert_eq!(Fate::of(needs, missing, unmet), expected, "{needs:?} {missing:?} {unmet:?}");
        }
    }
}
