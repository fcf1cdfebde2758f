//! A suite is a list of trials, each with what it needs; what could not run is shown as ignored, never as passed.
//!
//! Under `CI=true` a trial whose needs are not met fails with the reason, so that a build machine that lost its
//! rights is noticed. Trials that share the kernel (namespaces, pins) run one at a time; the others in parallel.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed};

use crate::lab::{find_program, missing_for_bpf, missing_for_loading};

static KERNEL: Mutex<()> = Mutex::new(());

/// What a trial needs from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any machine, any user.
    Nothing,
    /// bpf(2) and the BPF file system, as a bare virtual machine has them.
    Bpf,
    /// Root's capabilities, bpf(2) and the BPF file system, `ip`.
    Root,
    /// The real captures that are not part of the project; see [`captures`].
    Captures,
    /// The data set NSL-KDD, which is not part of the project; see [`nsl_kdd`].
    NslKdd,
    /// The data sets of CIC, which are not part of the project; see [`cic`].
    Cic,
    /// Both of these: [`cic`], and [`captures`].
    CicAndCaptures,
    /// The real access logs that are not part of the project; see [`access_logs`].
    AccessLogs,
    /// A mail server, and what makes it a certificate.
    MailServer,
    /// curl and Python, which ask a server over loopback.
    WebClients,
    /// Both of the former: [`cic`], and clients that ask.
    CicAndWebClients,
    /// What thinks of requests by a server's own description; see [`schemathesis`].
    Schemathesis,
}

/// The directory with `KDDTrain+.txt` and `KDDTest+.txt`, plain or compressed: `$MITIGATOR_NSL_KDD`, or
/// `shared/data/nsl-kdd` beside the workspace. `None` when it is missing.
#[must_use]
pub fn nsl_kdd() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/nsl-kdd");
    let directory =
        std::env::var_os("MITIGATOR_NSL_KDD").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let has =
        |file: &str| ["", ".zst", ".gz"].iter().any(|end| directory.join(format!("{file}{end}")).is_file());
    (has("KDDTrain+.txt") && has("KDDTest+.txt")).then_some(directory)
}

/// The directory with labelled flows of CICIDS2017 and CSE-CIC-IDS2018, as the names of [`CIC_FILES`] have it: `$MITIGATOR_CIC`, or
/// `cic` beside that of the [`captures`]. `None` when one is missing.
#[must_use]
pub fn cic() -> Option<PathBuf> {
    let beside = || captures().and_then(|captures| Some(captures.parent()?.join("cic")));
    let directory = std::env::var_os("MITIGATOR_CIC").map(PathBuf::from).or_else(beside)?;
    CIC_FILES.iter().all(|file| directory.join(file).is_file()).then_some(directory)
}

/// Flows of 2017, then those of 2018.
pub const CIC_FILES: [&str; 4] = [
    "cicids2017_corrected.csv.zst",
    "cicids2018_feb14_feb20.csv.zst",
    "cicids2018_mixed_1000.csv.zst",
    "mlids_client_fixture_1000.csv.zst",
];

/// The directory of real access logs: `$MITIGATOR_LOGS`, or `logs` beside that of the [`captures`]. `None` when it is
/// missing.
#[must_use]
pub fn access_logs() -> Option<PathBuf> {
    let beside = || captures().and_then(|captures| Some(captures.parent()?.join("logs")));
    let directory = std::env::var_os("MITIGATOR_LOGS").map(PathBuf::from).or_else(beside)?;
    directory.is_dir().then_some(directory)
}

/// The program `schemathesis`: on PATH, or where `cargo xtask setup` puts it. `None` when it is missing.
#[must_use]
pub fn schemathesis() -> Option<Command> {
    let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/python/schemathesis"));
    let installed = || {
        let program = own.join("bin/schemathesis");
        program.is_file().then(|| {
            let mut command = Command::new(program);
            command.env("PYTHONPATH", own);
            command
        })
    };
    find_program("schemathesis").map(Command::new).or_else(installed)
}

fn missing_programs(programs: &[&str]) -> Vec<String> {
    let wanted = programs.iter().filter(|program| find_program(program).is_none());
    wanted.map(|program| format!("the program `{program}` is missing (run `cargo xtask setup`)")).collect()
}

/// The directory of real captures with its `labels.json`: `$MITIGATOR_CAPTURES`, or `shared/data/pcap` beside the
/// workspace. `None` when it is missing.
#[must_use]
pub fn captures() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/pcap");
    let directory =
        std::env::var_os("MITIGATOR_CAPTURES").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    directory.join("labels.json").is_file().then_some(directory)
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

    fn into_libtest(self, missing: &impl Fn(Needs) -> Vec<String>, unmet: Unmet) -> libtest_mimic::Trial {
        let Self { name, needs, run } = self;
        let kind = match needs {
            Needs::Nothing => "",
            Needs::Bpf => "bpf",
            Needs::Root => "root",
            Needs::Captures => "captures",
            Needs::NslKdd => "nsl-kdd",
            Needs::Cic => "cic",
            Needs::CicAndCaptures => "cic, captures",
            Needs::AccessLogs => "logs",
            Needs::MailServer => "mail",
            Needs::WebClients => "web",
            Needs::CicAndWebClients => "cic, web",
            Needs::Schemathesis => "schemathesis",
        };
        let (ignored, body): (bool, Box<dyn FnOnce() -> Result<(), Failed> + Send>) =
            match Fate::of(&missing(needs), unmet) {
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
    fn of(missing: &[String], unmet: Unmet) -> Self {
        if missing.is_empty() {
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
    let look = |needs, missing: fn() -> Vec<String>| {
        if trials.iter().any(|trial| trial.needs == needs) { missing() } else { Vec::new() }
    };
    let loading = look(Needs::Bpf, missing_for_loading);
    let rights = look(Needs::Root, missing_for_bpf);
    let missing_cic = || match cic() {
        Some(_) => Vec::new(),
        None => vec![
            "the data sets of CIC are not on this machine (MITIGATOR_CIC names their directory)".to_owned(),
        ],
    };
    let missing_captures = || match captures() {
        Some(_) => Vec::new(),
        None => {
            vec!["the real captures are not on this machine (MITIGATOR_CAPTURES names them)".to_owned()]
        }
    };
    let missing = |needs: Needs| match needs {
        Needs::Nothing => Vec::new(),
        Needs::Bpf => loading.clone(),
        Needs::Root => rights.clone(),
        Needs::MailServer => missing_programs(&["aiosmtpd", "openssl"]),
        Needs::WebClients => missing_programs(&["curl", "python3"]),
        Needs::CicAndWebClients => [missing_cic(), missing_programs(&["curl"])].concat(),
        Needs::Schemathesis if schemathesis().is_some() => Vec::new(),
        Needs::Schemathesis => vec!["schemathesis is missing (run `cargo xtask setup`)".to_owned()],
        Needs::AccessLogs if access_logs().is_some() => Vec::new(),
        Needs::AccessLogs => {
            vec!["the real access logs are not on this machine (MITIGATOR_LOGS names them)".to_owned()]
        }
        Needs::Captures => missing_captures(),
        Needs::CicAndCaptures => [missing_cic(), missing_captures()].concat(),
        Needs::Cic => missing_cic(),
        Needs::NslKdd if nsl_kdd().is_some() => Vec::new(),
        Needs::NslKdd => {
            vec![
                "the data set NSL-KDD is not on this machine (MITIGATOR_NSL_KDD names its directory)"
                    .to_owned(),
            ]
        }
    };
    for needs in [
        Needs::Bpf,
        Needs::Root,
        Needs::Captures,
        Needs::NslKdd,
        Needs::Cic,
        Needs::CicAndCaptures,
        Needs::AccessLogs,
        Needs::MailServer,
        Needs::WebClients,
        Needs::CicAndWebClients,
        Needs::Schemathesis,
    ] {
        let missing = missing(needs);
        let concerns = trials.iter().any(|trial| trial.needs == needs);
        if concerns && unmet == Unmet::Ignored && !missing.is_empty() && !arguments.list {
            eprintln!("trials that need {needs:?} are ignored: {}", missing.join("; "));
        }
    }
    let trials = trials.into_iter().map(|trial| trial.into_libtest(&missing, unmet)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run_in_turn(needs: Needs, run: Body) -> Result<(), Failed> {
    // A trial that panicked has cleaned up on its way out; the next one may use the kernel.
    let _turn = matches!(needs, Needs::Bpf | Needs::Root)
        .then(|| KERNEL.lock().unwrap_or_else(PoisonError::into_inner));
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
        for (missing, unmet, expected) in [
            (nothing, Unmet::Failed, Fate::Run),
            (nothing, Unmet::Ignored, Fate::Run),
            (something, Unmet::Ignored, Fate::Ignore(reason())),
            (something, Unmet::Failed, Fate::Fail(reason())),
        ] {
            assert_eq!(Fate::of(missing, unmet), expected, "{missing:?} {unmet:?}");
        }
    }
}
