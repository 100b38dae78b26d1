//! Shows the progress of a command: a bar on a terminal, elsewhere a line for each tenth.

use std::io;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// The progress of one step.
pub struct Progress {
    bar: ProgressBar,
    done: &'static str,
    unit: &'static str,
}

impl Progress {
    /// Starts at zero of `total`, where that is known. `done` is what happens to each `unit`, as
    /// in "copied" and "users".
    pub fn start(done: &'static str, unit: &'static str, total: Option<u64>) -> Progress {
        let template = match total {
            Some(_) => "{wide_bar} {human_pos} of {human_len} {msg}, {eta} left",
            None => "{spinner} {human_pos} {msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let bar = bar.with_message(format!("{unit} {done}"));
        bar.set_style(style);
        Progress { bar, done, unit }
    }

    /// Adds `more` to what is done.
    pub fn advance(&self, more: u64) {
        self.set(self.bar.position() + more);
    }

    /// Shows how much is done.
    pub fn set(&self, position: u64) {
        let length = self.bar.length().unwrap_or(0);
        let tenth = |position| position * 10 / length.max(1);
        let before = tenth(self.bar.position());
        self.bar.set_position(position);
        if self.bar.is_hidden() && length > 0 && tenth(position) > before {
            let [position, length] = [position, length].map(HumanCount);
            let Progress { done, unit, .. } = self;
            // If stderr is closed, progress cannot be shown.
            let _ = io::Write::write_fmt(
                &mut io::stderr(),
                format_args!("{done} {position} of {length} {unit}\n"),
            );
        }
    }
}
