//! The environment: which variable a value came from, and which ones are unknown.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

/// What the names of all variables of this program start with.
const PREFIX: &str = "HELLO_BIRTHDAY_";

/// Read when the program is built.
const BUILD_VARIABLE: &str = "HELLO_BIRTHDAY_COMMIT";

/// Letters in which a name may differ from the one that is suggested for it.
const TYPOS_MAX: usize = 3;

/// The arguments and the environment of the process.
pub(super) struct Given {
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl Given {
    pub fn to_this_process() -> Given {
        Given { arguments: std::env::args_os().collect(), variables: std::env::vars_os().collect() }
    }

    /// The value of a variable. An empty one, as compose files set it, counts as unset.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }

    /// Whether the flag is among the arguments.
    fn has_flag(&self, flag: &str) -> bool {
        let is_flag = |argument: &OsString| {
            let argument = argument.to_string_lossy();
            argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        self.arguments.iter().skip(1).any(is_flag)
    }

    /// What to call the value of `flag` in an error: the flag, or else the variable that it came
    /// from; `shared` is one that other programs read too.
    pub fn origin(&self, flag: &str, shared: &[&str]) -> String {
        let ours = variable_of(flag);
        let variables = std::iter::once(&*ours).chain(shared.iter().copied());
        let mut set = variables.filter(|name| self.variable(name).is_some());
        match set.next() {
            Some(variable) if !self.has_flag(flag) => variable.to_owned(),
            _ => flag.to_owned(),
        }
    }

    /// Names in `error` the variables that values came from, and says how to unset one that
    /// conflicts.
    pub fn name_origins(&self, error: &mut clap::Error) {
        let mut is_of_variable = false;
        for kind in [ContextKind::InvalidArg, ContextKind::PriorArg] {
            let Some(ContextValue::String(arg)) = error.get(kind) else { continue };
            // As in `--listen <ADDR>`.
            let flag = arg.split([' ', '=']).next().unwrap_or_default().to_owned();
            let origin = self.origin(&flag, &[]);
            if origin != flag {
                error.insert(kind, ContextValue::String(origin));
                is_of_variable = true;
            }
        }
        if is_of_variable && error.kind() == ErrorKind::ArgumentConflict {
            let advice = "a variable with an empty value counts as unset".into();
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice]));
        }
    }

    /// Makes clap ignore empty variables.
    pub fn without_empty(&self, arg: Arg) -> Arg {
        let is_empty =
            |name| self.variables.iter().any(|(it, value)| it == name && value.is_empty());
        if arg.get_env().is_some_and(is_empty) { arg.env(None::<&str>) } else { arg }
    }

    /// The variables that start with `PREFIX` and that no flag of `command` reads, each with the
    /// most similar known one.
    pub fn unknown(&self, command: &Command) -> Vec<(String, Option<String>)> {
        let commands = std::iter::once(command).chain(command.get_subcommands());
        let known: Vec<String> = commands
            .flat_map(Command::get_arguments)
            .filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
            .collect();
        let names = self.variables.iter().map(|(name, _)| name.to_string_lossy().into_owned());
        let ours = names.filter(|name| name.starts_with(PREFIX) && name != BUILD_VARIABLE);
        ours.filter(|name| !known.contains(name))
            .map(|name| {
                let nearest = known
                    .iter()
                    .map(|known| (distance(&name, known), known))
                    .min()
                    .filter(|(typos, _)| *typos <= TYPOS_MAX);
                (name, nearest.map(|(_, known)| known.clone()))
            })
            .collect()
    }
}

/// The variable of `--a-flag`: `HELLO_BIRTHDAY_A_FLAG`.
fn variable_of(flag: &str) -> String {
    let words = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
    format!("{PREFIX}{words}")
}

/// How many letters to insert, remove or replace to get from one word to the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, theirs) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != theirs);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(arguments: &[&str], variables: &[(&str, &str)]) -> Given {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let arguments = std::iter::once("hello-birthday").chain(arguments.iter().copied());
        Given { arguments: arguments.map(Into::into).collect(), variables: variables.collect() }
    }

    #[test]
    fn a_value_is_called_by_the_flag_or_the_variable_that_it_came_from() {
        let ours = ("HELLO_BIRTHDAY_DATABASE_URL", "x");
        let shared = ("DATABASE_URL", "y");
        for (arguments, variables, origin) in [
            (&["--database-url=z"][..], &[ours, shared][..], "--database-url"),
            (&["--database-url", "z"], &[shared], "--database-url"),
            (&["--database-url-file", "z"], &[ours, shared], "HELLO_BIRTHDAY_DATABASE_URL"),
            (&[], &[shared], "DATABASE_URL"),
            (&[], &[("HELLO_BIRTHDAY_DATABASE_URL", ""), shared], "DATABASE_URL"),
            (&[], &[], "--database-url"),
        ] {
            let given = given(arguments, variables);
            assert_eq!(given.origin("--database-url", &["DATABASE_URL"]), origin, "{arguments:?}");
        }
    }

    #[test]
    fn words_are_as_far_apart_as_they_have_typos() {
        for (one, other, typos) in
            [("", "", 0), ("LISTEN", "LISTEN", 0), ("LISTN", "LISTEN", 1), ("", "ab", 2)]
        {
            assert_eq!(distance(one, other), typos, "{one} {other}");
            assert_eq!(distance(other, one), typos, "{other} {one}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
