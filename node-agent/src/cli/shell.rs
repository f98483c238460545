//! What shells and `man` need of the command line.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Cli, output::print_while_read};

/// Name of the program.
const NAME: &str = "node-agent";

/// Arguments of `node-agent completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

/// Arguments of `node-agent man`.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Folder to write the pages to; it is made if it is missing
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
}

/// Prints what completes the command line in a shell.
pub(super) fn completions(args: &Completions) -> anyhow::Result<()> {
    print_while_read(&script(args.shell)?)?;
    Ok(())
}

fn script(shell: Shell) -> anyhow::Result<String> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), NAME, &mut script);
    Ok(String::from_utf8(script)?)
}

/// Writes a page for the program and for each subcommand.
pub(super) fn man(args: &Man) -> anyhow::Result<()> {
    let folder = &args.output;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write pages to {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use super::*;

    #[test]
    fn bash_takes_the_script_and_completes_a_subcommand() {
        let script = script(Shell::Bash).unwrap();
        let ask = "COMP_WORDS=(node-agent rou); COMP_CWORD=1; _node__agent node-agent rou node-agent; echo \"${COMPREPLY[@]}\"";
        let told = Process::new("bash").args(["-c", &format!("{script}\n{ask}")]).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "routes");
    }

    #[test]
    fn other_shells_have_one_too() {
        for shell in [Shell::Zsh, Shell::Fish] {
            assert!(script(shell).unwrap().contains("log-level"), "{shell}");
        }
    }

    #[test]
    fn every_subcommand_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        man(&Man { output: folder.path().join("man1") }).unwrap();
        let page = fs::read_to_string(folder.path().join("man1/node-agent-routes.1")).unwrap();
        assert!(page.contains(".TH node-agent-routes 1") && page.contains("SYNOPSIS"), "{page}");
        let command = Cli::command();
        for subcommand in command.get_subcommands() {
            let page = folder.path().join(format!("man1/node-agent-{}.1", subcommand.get_name()));
            assert!(page.exists(), "there is no {}", page.display());
        }
    }
}
