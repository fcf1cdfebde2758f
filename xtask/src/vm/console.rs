//! What the guest says on its console, line by line, and what it means.

use serde::Serialize;

use super::verified;

/// What one machine did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What `uname -r` says; `None`: it did not boot.
    pub release: Option<String>,
    /// Those that began.
    pub suites: Vec<SuiteReport>,
    /// What the guest complains of.
    pub complaints: Vec<String>,
    /// What the verifier says, as the suite prints it at its end.
    #[serde(skip)]
    pub verified: verified::Counts,
    /// Whether the guest reached its last line.
    pub completed: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct SuiteReport {
    pub name: String,
    /// `None`: it printed no result.
    pub counts: Option<Counts>,
    /// `None`: it did not end.
    pub exit_code: Option<u8>,
    pub failed_tests: Vec<String>,
}

/// As a test executable sums them up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub passed: u32,
    pub failed: u32,
    pub ignored: u32,
}

impl Report {
    /// Takes in one line of the console.
    pub fn read(&mut self, line: &str) {
        if let Some(message) = line.strip_prefix("@@ ") {
            return self.read_message(message);
        }
        if let Some(said) = line.strip_prefix("verified instructions: ") {
            return self.read_verified(said);
        }
        let Some(suite) = self.suites.last_mut().filter(|suite| suite.exit_code.is_none()) else {
            return;
        };
        if let Some(result) = line.strip_prefix("test result: ") {
            suite.counts = Counts::parse(result);
        } else if let Some(name) = line.strip_prefix("test ").and_then(|line| line.strip_suffix("FAILED")) {
            // Some test harnesses put a word in brackets before the name.
            let name = name.strip_prefix('[').and_then(|name| Some(name.split_once("] ")?.1)).unwrap_or(name);
            suite.failed_tests.push(name.trim_end_matches([' ', '.']).to_owned());
        }
    }

    fn read_message(&mut self, message: &str) {
        let mut words = message.split(' ');
        match words.next() {
            Some("booted") => self.release = words.next().map(str::to_owned),
            Some("problem") => self.complaints.push(words.collect::<Vec<_>>().join(" ")),
            Some("begin") => {
                let name = words.next().unwrap_or_default().to_owned();
                self.suites.push(SuiteReport { name, ..SuiteReport::default() });
            }
            Some("end") => {
                let code = words.nth(1).and_then(|code| code.parse().ok());
                if let Some(suite) = self.suites.last_mut() {
                    suite.exit_code = code;
                }
            }
            Some("done") => self.completed = true,
            _ => {}
        }
    }

    /// Of `mitigate 65943`, or `mitigate unknown` where the kernel does not tell.
    fn read_verified(&mut self, said: &str) {
        if let Some((program, instructions)) = said.split_once(' ') {
            self.verified.insert(program.to_owned(), instructions.parse().ok());
        }
    }

    /// Whether everything that began could not run here, for want of rights.
    pub fn is_left_out(&self) -> bool {
        let is_left_out = |suite: &SuiteReport| matches!(suite.counts, Some(Counts { passed: 0, failed: 0, ignored }) if ignored > 0);
        !self.suites.is_empty() && self.suites.iter().all(is_left_out)
    }

    /// Why this is not a success; `None`: all suites ran to their end and every test passed.
    pub fn problem(&self) -> Option<String> {
        if self.release.is_none() {
            return Some("the kernel did not boot".into());
        }
        let mut problems = self.complaints.clone();
        problems.extend(self.suites.iter().filter_map(SuiteReport::problem));
        if self.is_left_out() {
            return Some("it takes root's rights to ask this kernel".into());
        }
        if self.verified.is_empty() {
            problems.push("nothing was said of the verifier".into());
        }
        if !self.completed {
            problems.push("the machine stopped before the last suite ended".into());
        }
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

impl SuiteReport {
    fn problem(&self) -> Option<String> {
        let name = &self.name;
        match (self.exit_code, self.counts) {
            (None, _) => Some(format!("the suite {name} did not end")),
            (Some(0), Some(Counts { passed: 0, .. })) => {
                Some(format!("the suite {name} has no test for this"))
            }
            (Some(0), Some(Counts { failed: 0, .. })) => None,
            (Some(_), Some(_)) if !self.failed_tests.is_empty() => {
                Some(format!("the suite {name} failed in {}", self.failed_tests.join(", ")))
            }
            (Some(code), _) => Some(format!("the suite {name} ended with exit code {code}")),
        }
    }
}

impl Counts {
    /// Of `ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s`.
    fn parse(result: &str) -> Option<Self> {
        let (_, numbers) = result.split_once(". ")?;
        let count = |what: &str| {
            let part = numbers.split("; ").find_map(|part| part.strip_suffix(what))?;
            part.trim().parse().ok()
        };
        Some(Self { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[    0.5] random: crng init done\n@@ booted 6.1.0-50-cloud-amd64\n@@ begin data_plane\n\
        running 2 tests\ntest passes ... ok\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; \
        finished in 0.10s\n\nverified instructions: mitigate 65943\nverified instructions: tell_jiffies unknown\n\
        @@ end data_plane 0\n@@ begin lab\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; \
        7 filtered out\n@@ end lab 0\n@@ done\n";

    #[test]
    fn a_good_run_is_one() {
        let report = read(GOOD);
        assert_eq!(report.release.as_deref(), Some("6.1.0-50-cloud-amd64"));
        assert_eq!(report.suites[0].counts, Some(Counts { passed: 2, failed: 0, ignored: 0 }));
        assert_eq!(report.verified["mitigate"], Some(65_943));
        assert_eq!(report.verified["tell_jiffies"], None);
        assert!(!report.is_left_out());
        assert_eq!(report.problem(), None);
    }

    #[test]
    fn failed_tests_are_named_without_ornaments() {
        let report = read(
            "@@ begin lab\ntest [root] vm_flood   ... FAILED\ntest vm_idle ... FAILED\ntest [root] vm_quiet ... ok\n",
        );
        assert_eq!(report.suites[0].failed_tests, ["vm_flood", "vm_idle"]);
    }

    #[test]
    fn whatever_goes_wrong_is_a_problem() {
        for (description, from, to, expected) in [
            ("no kernel", "@@ booted", "Kernel panic", "did not boot"),
            ("a failed test", "test passes ... ok", "test passes ... FAILED", "ended with exit code 101"),
            ("a suite without a result", "test result: ok. 2 passed", "killed", "exit code 0"),
            ("a suite that matches nothing", "ok. 1 passed", "ok. 0 passed", "no test for this"),
            ("a suite that hangs", "@@ end lab 0\n", "", "lab did not end"),
            ("a machine that dies", "@@ done\n", "", "stopped before"),
            ("a silent verifier", "verified instructions", "instructions", "of the verifier"),
            ("a missing card", "@@ begin lab", "@@ problem there is no eth0\n@@ begin lab", "no eth0"),
        ] {
            let mut text = GOOD.replace(from, to);
            if description == "a failed test" {
                text = text
                    .replace("@@ end data_plane 0", "@@ end data_plane 101")
                    .replace("2 passed; 0 failed", "1 passed; 1 failed");
            }
            let problem = read(&text).problem().expect(description);
            let expected = if description == "a failed test" { "failed in passes" } else { expected };
            assert!(problem.contains(expected), "{description}: {problem}");
        }
    }

    #[test]
    fn what_could_not_run_is_left_out_and_no_success() {
        let report = read(
            "@@ booted 6.18\n@@ begin data_plane\ntest result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 9 filtered \
            out\n@@ end data_plane 0\n@@ done\n",
        );
        assert!(report.is_left_out());
        assert!(report.problem().unwrap().contains("root's rights"));
    }

    fn read(text: &str) -> Report {
        let mut report = Report::default();
        text.lines().for_each(|line| report.read(line));
        report
    }
}
