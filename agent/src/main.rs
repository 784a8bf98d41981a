use std::process::ExitCode;

fn main() -> ExitCode {
    hobnail::cli::run()
}
