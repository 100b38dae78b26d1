use std::process::ExitCode;

fn main() -> ExitCode {
    hello_birthday::main()
}
