//! Reads ONNX files and writes them again: `roundtrip IN OUT [IN OUT]...`, or pairs on standard input, one a line with a tab
//! between. Prints what failed (the exit code is then 1) and counts warnings.

use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;

use spaceevo_onnx::{ReadOptions, WriteOptions, read, write};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut pairs: Vec<(String, String)> = arguments.chunks_exact(2).map(|p| (p[0].clone(), p[1].clone())).collect();
    if arguments.is_empty() {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            pairs.extend(line.split_once('\t').map(|(from, to)| (from.to_string(), to.to_string())));
        }
    }
    let (mut failed, mut warnings) = (0, 0);
    for (from, to) in &pairs {
        let written = read(Path::new(from), &ReadOptions::default()).and_then(|imported| {
            warnings += imported.warnings.len();
            write(&imported.graph, Path::new(to), &WriteOptions::default())
        });
        if let Err(diagnostic) = written {
            eprintln!("{from}: {diagnostic}");
            failed += 1;
        }
    }
    println!("{} files, {failed} failed, {warnings} warnings", pairs.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
