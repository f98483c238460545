//! Runs `nft`, which speaks nf_tables' netlink dialect for us, as it does for kube-proxy.

use std::{
    io,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use super::{TABLE, render};

/// How long one run may take. Others may hold the kernel's lock of the ruleset for a while.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why `nft` did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program.
    #[error(
        "the program `{}` is not there: install it (`apt-get install nftables`, in the agent's image if it \
         runs in a container), or set `masquerade: off`", .0.display()
    )]
    Missing(PathBuf),
    /// It could not be started or spoken to.
    #[error("cannot run `{}`: {error}", program.display())]
    Run {
        /// Its name.
        program: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It did not end.
    #[error("`nft` has not ended within {0:?} and was stopped: does another program hold the ruleset?")]
    TooSlow(Duration),
    /// It said no.
    #[error("`nft` says: {said}{advice}", said = .0, advice = advice(.0))]
    Refused(String),
    /// Someone else removed the table at once.
    #[error("it was gone right after it was made: another program flushes all of nftables")]
    Vanished,
}

impl NftError {
    /// Whether there is no `nft`, and so nothing that it could have made.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_))
    }
}

/// Whether this is how `nft` says that there is no such table (knftables goes by the same words), or that
/// the kernel has no nf_tables at all.
fn says_that_there_is_none(said: &str) -> bool {
    ["No such file or directory", "Protocol not supported", "cache initialization failed: Invalid argument"]
        .iter()
        .any(|words| said.contains(words))
}

/// What the user can do, as the rest of a sentence; empty where we know nothing.
fn advice(said: &str) -> &'static str {
    if said.contains("Operation not permitted") {
        "; run the agent as root or give it CAP_NET_ADMIN"
    } else if said.contains("Operation not supported") || said.contains("No such file or directory") {
        "; the kernel needs nf_tables with NAT (modules nf_tables, nft_chain_nat and nft_masq)"
    } else {
        ""
    }
}

/// The program.
#[derive(Debug, Clone)]
pub struct Nft {
    program: PathBuf,
    patience: Duration,
}

impl Nft {
    /// The one on the path.
    #[must_use]
    pub fn system() -> Self {
        Self { program: PathBuf::from("nft"), patience: PATIENCE }
    }

    /// Another program in its place.
    #[cfg(test)]
    pub(super) fn at(program: &str) -> Self {
        Self { program: PathBuf::from(program), patience: Duration::from_millis(200) }
    }

    /// Makes the changes in this text, all or none of them.
    pub(super) async fn apply(&self, text: &str) -> Result<(), NftError> {
        let output = self.run(&["-f", "-"], text).await?;
        if output.status.success() { Ok(()) } else { Err(refused(&output)) }
    }

    /// Our table as the kernel has it, with the handle of everything in it; none if there is none.
    ///
    /// # Errors
    /// `nft` is missing or fails.
    pub async fn list(&self) -> Result<Option<String>, NftError> {
        let (family, name) = TABLE.split_once(' ').unwrap_or(("inet", TABLE));
        let output = self.run(&["--handle", "list", "table", family, name], "").await?;
        if output.status.success() {
            return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        match refused(&output) {
            NftError::Refused(said) if says_that_there_is_none(&said) => Ok(None),
            error => Err(error),
        }
    }

    /// Removes our table; tells whether there was one.
    ///
    /// # Errors
    /// `nft` fails. That it is missing is no error: then it has made no table.
    pub async fn remove(&self) -> Result<bool, NftError> {
        match self.list().await {
            Ok(Some(_)) => self.apply(&render::remove()).await.map(|()| true),
            Ok(None) => Ok(false),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<Output, NftError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => NftError::Missing(self.program.clone()),
            _ => NftError::Run { program: self.program.clone(), error },
        };
        let mut command = Command::new(&self.program);
        // The words of its errors are looked at.
        command.args(arguments).env("LC_ALL", "C").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let talk = async {
            let written = match stdin {
                Some(mut stdin) => stdin.write_all(input.as_bytes()).await,
                None => Ok(()),
            };
            let output = child.wait_with_output().await?;
            // Where it ended before it had read everything, it has said why.
            if output.status.success() { written.map(|()| output) } else { Ok(output) }
        };
        match timeout(self.patience, talk).await {
            Ok(output) => output.map_err(failed),
            Err(_) => Err(NftError::TooSlow(self.patience)),
        }
    }
}

/// The first line of what it said; those after it show where in our text that is.
fn refused(output: &Output) -> NftError {
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().map(str::trim).find(|line| !line.is_empty());
    NftError::Refused(first.map_or_else(|| output.status.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_program_is_told_with_what_installs_it() {
        let nft = Nft::at("/nonexistent/nft");
        assert_eq!(
            nft.apply("").await.unwrap_err().to_string(),
            "the program `/nonexistent/nft` is not there: install it (`apt-get install nftables`, in the \
             agent's image if it runs in a container), or set `masquerade: off`"
        );
        assert!(nft.list().await.unwrap_err().is_missing());
        // Where masquerade is off, nobody needs it.
        assert!(!nft.remove().await.unwrap());
    }

    #[tokio::test]
    async fn a_program_that_fails_or_hangs_is_an_error() {
        let error = Nft::at("false").apply("table").await.unwrap_err().to_string();
        assert_eq!(error, "`nft` says: exit status: 1");
        // `sh -f -` runs what it is given.
        let error = Nft::at("sh").apply("exec sleep 5").await.unwrap_err().to_string();
        assert_eq!(
            error,
            "`nft` has not ended within 200ms and was stopped: does another program hold the ruleset?"
        );
    }

    #[test]
    fn a_refusal_is_told_with_advice() {
        let text = |said: &str| NftError::Refused(said.to_owned()).to_string();
        assert_eq!(
            text("Operation not permitted (you must be root)"),
            "`nft` says: Operation not permitted (you must be root); run the agent as root or give it \
             CAP_NET_ADMIN"
        );
        assert!(
            text("/dev/stdin:24:3-9: Error: Could not process rule: Operation not supported")
                .ends_with("nft_chain_nat and nft_masq)")
        );
        assert_eq!(text("syntax error"), "`nft` says: syntax error");
    }
}
