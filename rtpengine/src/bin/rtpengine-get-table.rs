//! `rtpengine-get-table`: prints the kernel table that a config file names, for scripts around the daemon.

use std::process::ExitCode;

use rtpengine::config::PROGRAM;
use service::options::ini::IniFile;

const SYNOPSIS: &str =
    "usage: rtpengine-get-table [--config-file FILE] [--config-section NAME] [--fallback-table N]";

fn main() -> ExitCode {
    let mut file = PROGRAM.config_file.to_owned();
    let mut section = PROGRAM.config_section.to_owned();
    let mut fallback = "-1".to_owned();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), words.next()),
        };
        let target = match name {
            "--config-file" => &mut file,
            "--config-section" => &mut section,
            "--fallback-table" => &mut fallback,
            _ => {
                eprintln!("{SYNOPSIS}");
                return ExitCode::FAILURE;
            }
        };
        let Some(value) = value else {
            eprintln!("{SYNOPSIS}");
            return ExitCode::FAILURE;
        };
        *target = value;
    }
    println!("{}", table(&std::fs::read(file).unwrap_or_default(), &section).unwrap_or(fallback));
    ExitCode::SUCCESS
}

fn table(content: &[u8], section: &str) -> Option<String> {
    let number = IniFile::parse(content).ok()?.group(section)?.raw("table")?.trim().to_owned();
    number.parse::<i32>().is_ok().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_section_is_told() {
        let file = b"[rtpengine]\ntable = 3\n[other]\ntable = x\n[none]\n";
        assert_eq!(table(file, "rtpengine").as_deref(), Some("3"));
        for section in ["other", "none", "absent"] {
            assert_eq!(table(file, section), None, "{section}");
        }
    }
}
