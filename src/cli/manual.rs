//! The manual page: one for the program and all of its commands.

use std::fmt::Write as _;
use std::io;

use clap::Command;
use clap_mangen::Man;

use super::{Defaults, command};

/// Sections beyond the flags, in roff.
const MORE: &str = r#".SH "EXIT STATUS"
.TP
.B 0
The command succeeded, or the service stopped after a signal.
.TP
.B 1
The service could not start, or the command failed: a sentence on stderr says what to do.
.TP
.B 2
A flag or a variable is invalid.
.TP
.BR 130 ", " 143
A second SIGINT or SIGTERM ended the service at once.
.SH ENVIRONMENT
Every flag has a variable, named beside it. An empty variable counts as unset.
These are read too, if neither the flag nor its own variable is set:
.TP
.B DATABASE_URL
As \-\-database\-url.
.TP
.BR SENTRY_DSN ", " SENTRY_ENVIRONMENT
As \-\-sentry\-dsn and \-\-sentry\-environment.
.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT
Stop: requests in flight are answered, and what was queued is saved.
.TP
.B SIGHUP
Read \-\-log\-level\-file and \-\-database\-url\-file again.
.SH FILES
.TP
.I hello-birthday.db
The database in the working directory, unless \-\-database\-url names another one. While it is in
use there are files beside it whose names end with \-wal, \-shm or \-journal; never delete them then.
.SH EXAMPLES
Serve on all addresses:
.PP
.RS
hello\-birthday \-\-listen :8080 \-\-database\-url sqlite:/srv/birthdays.db
.RE
.PP
Save a date of birth and greet:
.PP
.RS
curl \-X PUT \-d '{"dateOfBirth":"1990\-05\-20"}' localhost:8080/hello/John
.br
curl localhost:8080/hello/John
.RE
.PP
Complete commands and flags in bash:
.PP
.RS
source <(hello\-birthday completions bash)
.RE
"#;

/// The manual page, in roff.
pub fn manual() -> io::Result<Vec<u8>> {
    let mut command = command(Defaults::default());
    command.build();
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend(commands(&mut command)?.into_bytes());
    page.extend(MORE.as_bytes());
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// A section on all commands: their own pages could not be printed.
fn commands(command: &mut Command) -> io::Result<String> {
    let mut section = ".SH COMMANDS\n".to_owned();
    let shown = command.get_subcommands_mut().filter(|it| it.get_name() != "help");
    for command in shown.filter(|it| !it.is_hide_set()) {
        let usage = command.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").replace('"', "");
        let about = command.get_long_about().or_else(|| command.get_about());
        let about = about.map(ToString::to_string).unwrap_or_default();
        // A string has room.
        let _ = write!(section, ".SS \"{}\"\n{}\n", escape(&usage), escape(&about));
        let mut options = Vec::new();
        Man::new(command.clone()).render_options_section(&mut options)?;
        let options = String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "");
        // What has a section of its own above is a paragraph here.
        section.push_str(&options.replace(".SH ", ".PP\n.B "));
    }
    Ok(section)
}

/// Text as roff shows it.
fn escape(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.trim().replace('\\', "\\e").replace('-', "\\-");
        match line.as_str() {
            "" => ".PP".to_owned(),
            line if line.starts_with(['.', '\'']) => format!("\\&{line}"),
            line => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
