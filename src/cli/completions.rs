//! Completion scripts for shells.

use clap::Command;
use clap_complete::Shell;

use super::{Defaults, command};

/// The completion script for `shell`.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let mut shown = without_hidden(&command(Defaults::default()));
    clap_complete::generate(shell, &mut shown, "hello-birthday", &mut script);
    match shell {
        Shell::Bash => replace(script, BASH_STATE),
        Shell::Fish => {
            let mut script = replace(script, FISH_PENDING_OPTION);
            shown.get_subcommands().for_each(|command| add_fish_arguments(&mut script, command));
            script
        }
        _ => script,
    }
}

/// The generator names the state after a command in two ways where the program's name has a
/// hyphen, so that nothing is completed after a command.
const BASH_STATE: [&str; 2] = ["hello__subcmd__birthday", "hello__birthday"];

/// The option whose value is being completed has no value yet, which is an error to argparse, so
/// that no value is offered.
const FISH_PENDING_OPTION: [&str; 2] = [
    "    set -e cmd[1]\n    argparse",
    "    set -e cmd[1]
    if set -q cmd[1]; and string match -q -- '--*' $cmd[-1]
        set -e cmd[-1]
    end
    argparse",
];

/// Completes the values of arguments that are no flags, which the generator leaves out.
fn add_fish_arguments(script: &mut Vec<u8>, command: &Command) {
    for argument in command.get_positionals() {
        let values = argument.get_possible_values();
        let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
        if !names.is_empty() {
            let line = format!(
                "complete -c hello-birthday -n '__fish_hello_birthday_using_subcommand {}' -f -a '{}'\n",
                command.get_name(),
                names.join(" ")
            );
            script.extend(line.into_bytes());
        }
    }
}

fn replace(script: Vec<u8>, [old, new]: [&str; 2]) -> Vec<u8> {
    String::from_utf8(script).expect("a script is text").replace(old, new).into_bytes()
}

/// The command without flags and values that `--help` does not show either.
fn without_hidden(command: &Command) -> Command {
    let mut shown = Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .args_conflicts_with_subcommands(command.is_args_conflicts_with_subcommands_set())
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|it| !it.is_hide_set()).map(without_hidden));
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned());
    }
    shown
}
