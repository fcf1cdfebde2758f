//! `mitigator completions`: a completion script for a shell.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Answer, Cli};
use crate::report::output::print_text;

/// Arguments of `mitigator completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// For which shell, for example `mitigator completions bash > /etc/bash_completion.d/mitigator`
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        // Into memory first: the generators panic when a reader such as `head` has gone away.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "mitigator", &mut script);
        print_text(&String::from_utf8_lossy(&script))?;
        Ok(Answer::Done)
    }
}
