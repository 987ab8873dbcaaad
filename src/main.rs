//! The `luthflow` program: hands its arguments to the command line and its answer to the system.

fn main() -> std::process::ExitCode {
    luthflow::cli::main(std::env::args_os())
}
