//! The agent's tasks, by name. None of them ends while the agent runs: where one does, by a panic or otherwise, the agent
//! would go on half alive, so it ends instead, with an error, and the service manager starts it anew.

use std::{collections::HashMap, fmt::Display, panic::resume_unwind};

use tokio::{
    task::{Id, JoinError, JoinHandle, JoinSet},
    task_local,
};

use crate::fault;

task_local! {
    static NAME: String;
}

/// The name of the task that is running, if it is one of [`Tasks`].
pub(super) fn current() -> Option<String> {
    NAME.try_with(Clone::clone).ok()
}

/// A task that should not have ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the task {task} has ended: {why}; the agent ends, too, so that the service manager starts it anew (the datapath \
     stays in place)"
)]
pub struct TaskEnded {
    /// Its name.
    pub task: String,
    /// How it ended.
    pub why: String,
}

/// The tasks. They are ended when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Each tells why it has ended.
    running: JoinSet<String>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// Starts a task that goes on for as long as the agent does.
    pub(super) fn spawn<E: Display>(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let name = name.into();
        let fault = fault::in_task(name.clone());
        let named = NAME.scope(name.clone(), async {
            tokio::select! {
                never = fault => match never {},
                result = task => match result {
                    Ok(()) => "it has no more to do".to_owned(),
                    Err(error) => error.to_string(),
                },
            }
        });
        let id = self.running.spawn(named).id();
        self.names.insert(id, name);
    }

    /// Takes over a task that runs already.
    pub(super) fn adopt(&mut self, name: impl Into<String>, task: JoinHandle<()>) {
        self.spawn(name, async { task.await.or_else(again) });
    }

    /// Waits until one has ended. May be dropped while it waits.
    pub(super) async fn ended(&mut self) -> TaskEnded {
        let (id, why) = match self.running.join_next_with_id().await {
            Some(Ok((id, why))) => (id, why),
            Some(Err(error)) => (error.id(), told(error)),
            None => std::future::pending().await,
        };
        TaskEnded { task: self.names.remove(&id).unwrap_or_default(), why }
    }
}

/// A panic goes on in the task that waits; anything else is an error.
fn again(error: JoinError) -> Result<(), JoinError> {
    match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(error) => Err(error),
    }
}

/// How a task ended that has no result. Where it panicked, the panic itself is in the log.
fn told(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| Some(panic.downcast_ref::<String>()?.as_str()));
    text.map_or_else(|| "it panicked".to_owned(), |text| format!("it panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending, time::Duration};

    use super::*;

    async fn ended(tasks: &mut Tasks) -> (String, String) {
        let TaskEnded { task, why } = tasks.ended().await;
        (task, why)
    }

    fn told_as(task: &str, why: &str) -> (String, String) {
        (task.to_owned(), why.to_owned())
    }

    #[tokio::test]
    async fn whatever_ends_a_task_is_told_with_its_name() {
        let mut tasks = Tasks::default();
        tasks.spawn("goes-on", pending::<Result<(), Infallible>>());
        assert!(tokio::time::timeout(Duration::from_millis(20), tasks.ended()).await.is_err());
        tasks.spawn("returns", async { Ok::<_, Infallible>(()) });
        assert_eq!(ended(&mut tasks).await, told_as("returns", "it has no more to do"));
        tasks.spawn("fails", async { Err("no such file") });
        assert_eq!(ended(&mut tasks).await, told_as("fails", "no such file"));
        tasks.spawn("panics", async { if true { panic!("at {}", 7) } else { Ok::<_, Infallible>(()) } });
        assert_eq!(ended(&mut tasks).await, told_as("panics", "it panicked: at 7"));
        tasks.adopt("adopted", tokio::spawn(async { panic!("inside") }));
        assert_eq!(ended(&mut tasks).await, told_as("adopted", "it panicked: inside"));
        let cancelled = tokio::spawn(pending());
        cancelled.abort();
        tasks.adopt("cancelled", cancelled);
        let (task, why) = ended(&mut tasks).await;
        assert!(task == "cancelled" && why.contains("cancelled"), "{task}: {why}");
    }

    #[tokio::test]
    async fn a_task_knows_its_name_and_others_have_none() {
        assert_eq!(current(), None);
        let mut tasks = Tasks::default();
        tasks.spawn("one", async { Err::<(), _>(current().unwrap_or_default()) });
        assert_eq!(ended(&mut tasks).await, told_as("one", "one"));
    }
}
