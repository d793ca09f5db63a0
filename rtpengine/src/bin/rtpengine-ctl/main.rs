//! `rtpengine-ctl`: sends one command to the daemon's command line interface and prints the reply. `top` asks again and again.

mod top;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use service::options::ini::IniFile;

const SYNOPSIS: &str = "usage: rtpengine-ctl [--ip ADDRESS[:PORT]] [--port PORT] [--timeout SECONDS] [--config-file FILE] [--json] COMMAND ... | top [--once] [--interval=SECONDS]";
const CONFIG_FILE: &str = "/etc/rtpengine/rtpengine.conf";
const ADDRESS: &str = "127.0.0.1";
const PORT: u16 = 9900;
const TIMEOUT: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<String> = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut request = Request::parse(&words);
    if request.wants_help {
        println!("{SYNOPSIS}\n");
        request.command = "usage".into();
    }
    let (address, port) = request.target(Path::new(CONFIG_FILE));
    let ask = |command: &str, out: &mut dyn Write| converse(&address, port, request.timeout, command, out);
    let outcome = if let Some(words) =
        request.command.strip_prefix("top").filter(|rest| rest.is_empty() || rest.starts_with(' '))
    {
        top::Options::parse(words).map_or_else(
            |word| Err(io::Error::other(format!("(top: what is '{word}'?)"))),
            |options| {
                top::run(&options, |command| {
                    let mut reply = Vec::new();
                    ask(command, &mut reply).map(|()| reply)
                })
            },
        )
    } else if request.is_json {
        let mut reply = Vec::new();
        let asked = ask(&format!("json {}", request.command), &mut reply);
        let failed = serde_json::from_slice::<serde_json::Value>(&reply)
            .map_or(true, |reply| reply.get("error").is_some());
        let printed = asked.and_then(|()| io::stdout().write_all(&reply));
        match printed {
            Ok(()) if failed => return ExitCode::FAILURE,
            printed => printed,
        }
    } else {
        ask(&request.command, &mut io::stdout().lock())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read us has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Cannot connect to rtpengine {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the user wants.
#[derive(Debug, PartialEq)]
struct Request {
    /// `ADDRESS[:PORT]`
    address: Option<String>,
    port: Option<u16>,
    timeout: Duration,
    config_file: Option<PathBuf>,
    wants_help: bool,
    is_json: bool,
    command: String,
}

impl Request {
    /// Options come first, with one or two dashes, their value in the same word after `=` or in the next; all from the first other
    /// word on is the command.
    fn parse(words: &[String]) -> Self {
        let mut request = Request {
            address: None,
            port: None,
            timeout: TIMEOUT,
            config_file: None,
            wants_help: false,
            is_json: false,
            command: String::new(),
        };
        let mut words = words.iter();
        let mut command: Vec<&str> = Vec::new();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                command.push(word);
                break;
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let mut value = || value.clone().or_else(|| words.next().cloned());
            let understood = match name {
                "ip" => value().map(|text| request.address = Some(text)).is_some(),
                "port" => {
                    request.port = value().and_then(|text| text.parse().ok());
                    request.port.is_some()
                }
                "timeout" => {
                    let seconds = value().and_then(|text| text.parse::<u32>().ok()).filter(|s| *s > 0);
                    seconds.map(|s| request.timeout = Duration::from_secs(s.into())).is_some()
                }
                "json" => {
                    request.is_json = true;
                    true
                }
                "config-file" => value().map(|text| request.config_file = Some(text.into())).is_some(),
                _ => false,
            };
            request.wants_help |= !understood;
        }
        command.extend(words.map(String::as_str));
        request.command = command.join(" ");
        request.wants_help |= request.command.is_empty();
        request
    }

    /// Address and port: as given, else from the config file, else the usual ones.
    fn target(&self, default_config: &Path) -> (String, u16) {
        let configured = || {
            let path = self.config_file.as_deref().unwrap_or(default_config);
            let file = IniFile::parse(&std::fs::read(path).ok()?).ok()?;
            file.group("rtpengine")?.list("listen-cli").ok()??.into_iter().next()
        };
        let text = match (&self.address, self.port) {
            (Some(address), _) => Some(address.clone()),
            (None, Some(_)) => None,
            (None, None) => configured(),
        };
        let (address, port) = text.as_deref().map_or((None, None), split);
        (address.unwrap_or(ADDRESS).to_owned(), self.port.or(port).unwrap_or(PORT))
    }
}

/// `PORT`, `ADDRESS`, `ADDRESS:PORT`, `[IPv6]:PORT`.
fn split(text: &str) -> (Option<&str>, Option<u16>) {
    if let Ok(port) = text.parse() {
        return (None, Some(port));
    }
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return (Some(address), rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match text.rsplit_once(':') {
        // More than one colon without brackets: an IPv6 address alone.
        Some((address, port)) if !address.contains(':') => (Some(address), port.parse().ok()),
        _ => (Some(text), None),
    }
}

fn converse(
    address: &str,
    port: u16,
    timeout: Duration,
    command: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut connection = None;
    for target in (address, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&target, timeout) {
            Ok(stream) => {
                connection = Some(stream);
                break;
            }
            Err(error) => last = error,
        }
    }
    let Some(mut stream) = connection else { return Err(last) };
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut buffer = vec![0; 65_536];
    loop {
        match stream.read(&mut buffer)? {
            0 => return out.flush(),
            length => out.write_all(&buffer[..length])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Request {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Request::parse(&words)
    }

    #[test]
    fn json_is_an_option() {
        let request = parse("--json list sessions all");
        assert!(request.is_json && !request.wants_help);
        assert_eq!(request.command, "list sessions all");
    }

    #[test]
    fn options_end_at_the_first_word() {
        let request = parse("-ip 192.0.2.1:9901 --timeout=5 list sessions --ip x");
        assert_eq!(request.address.as_deref(), Some("192.0.2.1:9901"));
        assert_eq!(request.timeout, Duration::from_secs(5));
        assert_eq!(request.command, "list sessions --ip x");
        assert!(!request.wants_help);
    }

    #[test]
    fn bad_options_and_no_command_ask_for_help() {
        for line in ["", "--help", "-h list", "--port x list", "--ip", "--timeout 0 list"] {
            assert!(parse(line).wants_help, "{line}");
        }
    }

    #[test]
    fn address_and_port_come_from_the_first_place_that_has_them() {
        let folder = tempfile::tempdir().expect("folder");
        let config = folder.path().join("rtpengine.conf");
        let cases = [
            ("", "list", ("127.0.0.1", 9900)),
            ("listen-cli = 9911", "list", ("127.0.0.1", 9911)),
            ("listen-cli = 192.0.2.7:9912", "list", ("192.0.2.7", 9912)),
            ("listen-cli = 192.0.2.7:9912", "--port 5 list", ("127.0.0.1", 5)),
            ("listen-cli = 192.0.2.7:9912", "--ip ::1 list", ("::1", 9900)),
            ("", "--ip [::1]:77 list", ("::1", 77)),
            ("", "--ip localhost:77 --port 78 list", ("localhost", 78)),
        ];
        for (content, line, (address, port)) in cases {
            std::fs::write(&config, format!("[rtpengine]\n{content}\n")).expect("write");
            assert_eq!(parse(line).target(&config), (address.to_owned(), port), "{content} {line}");
        }
        assert_eq!(parse("list").target(&folder.path().join("none")), ("127.0.0.1".into(), 9900));
    }
}
