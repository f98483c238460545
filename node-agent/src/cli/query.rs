use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use super::output;
use crate::{
    api::{AskError, Request, Response, ask},
    config::DEFAULT_SOCKET,
};

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// What all subcommands that ask the agent have in common.
#[derive(Debug, clap::Args)]
pub(super) struct Query {
    /// How to show the answer
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(super) output: Output,
    /// Unix socket of the agent
    #[arg(long, value_name = "PATH", env = "PODROUTE_SOCKET", default_value = DEFAULT_SOCKET, global = true)]
    pub(super) socket: PathBuf,
}

impl Query {
    /// Asks the agent and shows what `take` finds in its response: as JSON, or as `table` makes it.
    pub(super) async fn show<T: Serialize>(
        &self,
        request: &Request,
        take: impl FnOnce(Response) -> Option<T>,
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        self.tell(request, take, table).await.map(drop)
    }

    /// The same, and returns what it has shown.
    pub(super) async fn tell<T: Serialize>(
        &self,
        request: &Request,
        take: impl FnOnce(Response) -> Option<T>,
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        let response = ask(&self.socket, request).await?;
        let answer = take(response).ok_or_else(|| AskError::Unknown {
            socket: self.socket.clone(),
            reason: "an answer to another question".to_owned(),
        })?;
        let text = match self.output {
            Output::Table => table(&answer),
            Output::Json => serde_json::to_string_pretty(&answer)? + "\n",
        };
        output::print(&text)?;
        Ok(answer)
    }
}
