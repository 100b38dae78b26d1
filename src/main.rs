//! The command: reads the flags and does what they say.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use hello_birthday::cli::{self, Cli, Command, Logging};
use hello_birthday::metrics::Metrics;
use hello_birthday::{app, copy, health, logging};

fn main() -> ExitCode {
    let _flush = logging::Flush;
    match run(cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::print(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(Cli { command, options }: Cli) -> anyhow::Result<()> {
    match command {
        None => {
            let (database, store) = options.store().unwrap_or_else(|error| error.exit());
            let metrics = start_logging(&options.logging)?;
            if options.only_migrates() {
                app::event_loops()?.block_on(app::migrate(database, store, metrics))
            } else {
                app::event_loops()?.block_on(app::run(options, database, store, metrics))
            }
        }
        Some(Command::Migrate(migrate)) => {
            let (database, store) = migrate.database.store().unwrap_or_else(|error| error.exit());
            let metrics = start_logging(&migrate.logging)?;
            app::event_loops()?.block_on(app::migrate(database, store, metrics))
        }
        Some(Command::Health(health)) => {
            app::event_loops()?.block_on(health::ask(health.listen, health.timeout))?;
            print(b"OK\n")
        }
        Some(Command::Copy(copy)) => {
            let plan = copy.plan().unwrap_or_else(|error| error.exit());
            let copied = app::event_loops()?.block_on(copy::copy(plan))?;
            print(format!("{copied}\n").as_bytes())
        }
        Some(Command::Completions { shell }) => print(&cli::completions(shell)),
        Some(Command::Man) => print(&cli::manual()?),
    }
}

fn start_logging(logging: &Logging) -> anyhow::Result<Arc<Metrics>> {
    let metrics = Arc::new(Metrics::new());
    let dropped = metrics.log_lines_dropped.clone();
    logging::start(logging.log_format, logging.log_level, dropped)?;
    Ok(metrics)
}

fn print(bytes: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().write_all(bytes) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
