//! `mitigator completions`: a completion script for a shell.

use std::io;

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Answer, Cli};

/// Arguments of `mitigator completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// For which shell, for example `mitigator completions bash > /etc/bash_completion.d/mitigator`
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self) -> Result<Answer> {
        clap_complete::generate(self.shell, &mut Cli::command(), "mitigator", &mut io::stdout());
        Ok(Answer::Done)
    }
}
