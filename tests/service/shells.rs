//! Completion scripts, asked through the shells that they are for, and the manual page.

use std::fs;
use std::process::Command;

use crate::commands::{command, run as must_run};
use crate::harness::{BINARY, new_folder, run};

fn script(shell: &str) -> String {
    let mut command = Command::new(BINARY);
    command.args(["completions", shell]);
    let (status, script, error) = run(command);
    assert!(status.success(), "{shell}: {error}");
    script
}

/// What a shell offers after these words, the last of which is begun, by name.
type Ask = fn(&[&str]) -> Vec<String>;

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Calls the function that is registered, as bash does when a user presses the tab key.
fn ask_bash(words: &[&str]) -> Vec<String> {
    let ask = r#"
        source /dev/stdin <<<"$SCRIPT"
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        function=$(complete -p "$1" | sed 's/.*-F \([^ ]*\).*/\1/')
        compopt() { :; }
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = command("bash");
    bash.args(["--norc", "-c", ask, "bash"]).args(words).env("SCRIPT", script("bash"));
    lines(&must_run(&mut bash))
}

fn ask_fish(words: &[&str]) -> Vec<String> {
    let folder = new_folder();
    fs::write(folder.path().join("script.fish"), script("fish")).unwrap();
    let file = folder.path().join("script.fish");
    let mut fish = command("fish");
    fish.args(["--no-config", "-c"]).env("HOME", folder.path());
    fish.arg("source $argv[1]; complete -C \"$argv[2]\"").arg(&file).arg(words.join(" "));
    // A description follows a tab.
    lines(&must_run(&mut fish))
        .into_iter()
        .map(|line| line.split('\t').next().unwrap().to_owned())
        .collect()
}

/// Presses the tab key in an interactive zsh, and reads the words that it lists.
fn ask_zsh(words: &[&str]) -> Vec<String> {
    let folder = new_folder();
    fs::write(folder.path().join("_hello-birthday"), script("zsh")).unwrap();
    let ask = r#"
        zmodload zsh/zpty
        print -r -- "PS1=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D
            compadd() {
                local -a names
                builtin compadd -O names \"\$@\"
                print -rl -- '<'\$^names'>'
                builtin compadd \"\$@\"
            }
            finish() { print 'all offered' }
            comppostfuncs=(finish)
            print 'set up'" >"$1/setup"
        zpty shell zsh -f -i
        zpty -w shell "source $1/setup"
        zpty -r shell said '*set up*'
        zpty -w -n shell "$2"$'\t'
        zpty -r shell said '*all offered*'
        print -r -- "$said"
    "#;
    let mut zsh = command("zsh");
    zsh.args(["-f", "-c", ask, "zsh"]).arg(folder.path()).arg(words.join(" "));
    let said = must_run(zsh.env("TERM", "dumb"));
    said.split('<')
        .skip(1)
        .filter_map(|rest| rest.split_once('>'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn shells_complete_commands_flags_and_values_and_nothing_hidden() {
    let shells: [(&str, Ask); 3] = [("bash", ask_bash), ("fish", ask_fish), ("zsh", ask_zsh)];
    for (shell, ask) in shells {
        let offers = |words: &[&str], wanted: &[&str], unwanted: &[&str]| {
            let offered = ask(&[&["hello-birthday"], words].concat());
            for word in wanted {
                assert!(
                    offered.iter().any(|it| it == word),
                    "{shell} {words:?}: no {word} in {offered:?}"
                );
            }
            for word in unwanted {
                assert!(!offered.iter().any(|it| it == word), "{shell} {words:?}: {word}");
            }
        };
        offers(&["c"], &["copy", "completions"], &["health"]);
        offers(&["--l"], &["--listen", "--leap-day-birthday", "--log-level"], &["--today"]);
        offers(
            &["--"],
            &["--drain-timeout"],
            &["--today", "--store-batch-max", "--store-outage-max"],
        );
        offers(&["--migrate", ""], &["auto", "check"], &["only"]);
        offers(&["--log-format", ""], &["auto", "text", "json"], &[]);
        offers(&["copy", "--"], &["--from", "--to", "--replace"], &["--listen"]);
        offers(&["health", "--"], &["--listen", "--timeout"], &["--drain-delay"]);
        offers(&["migrate", "--sqlite-journal", ""], &["auto", "wal", "truncate"], &[]);
        offers(&["completions", ""], &["bash", "fish", "zsh"], &[]);
    }
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = script(shell);
        assert!(script.contains("drain-timeout"), "{shell}");
        assert!(!script.contains("store-batch-max"), "{shell}");
    }
}

#[test]
fn the_manual_page_is_whole_and_names_no_other_page_of_this_program() {
    let mut command = Command::new(BINARY);
    command.arg("man");
    let (status, page, _) = run(command);
    assert!(status.success());
    assert!(page.contains(".TH hello-birthday 1"), "{page}");
    assert!(page.contains("HELLO_BIRTHDAY_DRAIN_TIMEOUT"));
    let sections: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".SH "))
        .map(|it| it.trim_matches('"'))
        .collect();
    for section in ["NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "EXIT STATUS", "FILES", "EXAMPLES"] {
        assert!(sections.contains(&section), "no {section} in {sections:?}");
    }
    assert!(!sections.contains(&"SUBCOMMANDS"));
    let logging = sections.iter().filter(|section| **section == "LOGGING").count();
    assert_eq!(logging, 1, "{sections:?}");
    for command in ["backup", "copy", "erase", "health", "migrate"] {
        assert!(page.contains(&format!(".SS \"hello\\-birthday {command}")), "{command}");
        assert!(!page.contains(&format!("{command}(1)")), "{command}");
    }
    assert!(page.contains("\\-\\-replace"), "the flags of commands are there");
    assert!(!page.contains("store\\-batch\\-max"), "a flag for tests is shown");
    // Formatted without a warning.
    let folder = new_folder();
    let file = folder.path().join("hello-birthday.1");
    fs::write(&file, &page).unwrap();
    let formatted =
        Command::new("groff").args(["-man", "-Tutf8", "-ww"]).arg(&file).output().unwrap();
    assert!(formatted.status.success());
    let warnings = String::from_utf8_lossy(&formatted.stderr);
    assert!(warnings.is_empty(), "{warnings}");
}
