//! What the binary does: it serves, or carries out one of the other commands.

mod backup;
mod copy;
mod erase;
mod health;
mod load_rates;
mod migrate;
mod progress;
mod reload;
mod serve;

use std::io::{self, ErrorKind, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

use self::serve::exit_on_next;
use crate::cli::{self, Cli, Command, LoggingArgs};
use crate::lifecycle::Signals;
use crate::logging;
use crate::metrics::Metrics;

/// Runs the command that the process's arguments name. Invalid arguments exit with 2, a failure
/// returns 1.
pub fn main() -> ExitCode {
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
            let reports = options.reports.settings().unwrap_or_else(|error| error.exit());
            let metrics = start_logging(&options.logging)?;
            if options.only_migrates() {
                block_on_command(migrate::migrate(database, store, metrics))
            } else {
                block_on(serve::serve(options, database, store, reports, metrics))
            }
        }
        Some(Command::Health(health)) => {
            block_on_command(health::check(health.listen, health.timeout))?;
            print(b"OK\n")
        }
        Some(Command::Migrate(args)) => {
            let (database, store) = args.store.store().unwrap_or_else(|error| error.exit());
            let metrics = start_logging(&args.logging)?;
            block_on_command(migrate::migrate(database, store, metrics))
        }
        Some(Command::Copy(args)) => {
            let plan = args.plan().unwrap_or_else(|error| error.exit());
            let copied = block_on_command(copy::copy(plan))?;
            print(format!("{copied}\n").as_bytes())
        }
        Some(Command::LoadRates(args)) => {
            let plan = args.plan().unwrap_or_else(|error| error.exit());
            let loaded = block_on_command(load_rates::load_rates(plan))?;
            print(format!("{loaded}\n").as_bytes())
        }
        Some(Command::Erase(args)) => {
            let plan = args.plan().unwrap_or_else(|error| error.exit());
            let erased = block_on_command(erase::erase(plan))?;
            print(format!("{erased}\n").as_bytes())
        }
        Some(Command::Backup(args)) => {
            let plan = args.plan().unwrap_or_else(|error| error.exit());
            let done = block_on_command(async move { backup::backup(&plan) })
                .context("cannot back up the database")?;
            print(format!("{done}\n").as_bytes())
        }
        Some(Command::Completions { shell }) => print(&cli::completions(shell)),
        Some(Command::Man) => print(&cli::manual()?),
    }
}

/// Carries out a command that a signal ends. The kernel sees to that, but not for the first process
/// of a container (pid_namespaces(7)).
fn block_on_command<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    block_on(async {
        if std::process::id() == 1 {
            exit_on_next(Signals::catch()?);
        }
        command.await
    })
}

/// Carries out a command. What it leaves behind in the background, such as a name look-up that is
/// not answered, does not hold up the exit.
fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = build_runtime()?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

/// Event loops on half of the processors; the database's threads and the kernel
/// need the others. More loops would mostly wake each other: on two processors
/// one loop answers as many requests as two, for less.
pub fn build_runtime() -> io::Result<Runtime> {
    let processors = available_parallelism().map_or(1, NonZeroUsize::get);
    let loops = processors.div_ceil(2);
    Builder::new_multi_thread().worker_threads(loops).enable_all().build()
}

fn start_logging(args: &LoggingArgs) -> anyhow::Result<Arc<Metrics>> {
    let metrics = Arc::new(Metrics::new());
    let level = args.level().unwrap_or_else(|error| error.exit());
    logging::start(args.log_format, level, metrics.log_lines_dropped.clone())?;
    cli::warn_of_unknown_variables();
    Ok(metrics)
}

fn print(bytes: &[u8]) -> anyhow::Result<()> {
    match io::stdout().write_all(bytes) {
        // The reader closed the pipe, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
