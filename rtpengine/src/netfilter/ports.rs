//! `iptables-chain`: a rule for each open media port in a chain of the operator's.
//!
//! One thread feeds `iptables-restore`, some changes at once. Errors are logged only: media do not wait for a firewall.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use smol_str::SmolStr;

/// Changes that one run carries out.
const BATCH: usize = 500;
/// How long changes gather.
const GATHER: Duration = Duration::from_millis(20);
/// Longest comment of a rule.
const COMMENT: usize = 255;

/// Makes and removes rules of ports.
#[derive(Clone, Debug)]
pub struct PortRules {
    changes: Sender<Change>,
}

/// A port's rule, which goes with it.
#[derive(Debug)]
pub struct PortRule {
    changes: Sender<Change>,
    port: RuledPort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RuledPort {
    local: SocketAddr,
    call_id: SmolStr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Open(RuledPort),
    Closed(RuledPort),
}

impl PortRules {
    /// Empties the chain, and follows ports from now on.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(chain: &str) -> io::Result<Self> {
        let (changes, receiver) = mpsc::channel();
        let chain = chain.to_owned();
        service::process::threads::builder("iptables").spawn(move || {
            for program in ["iptables", "ip6tables"] {
                report(&format!("{program} -F {chain}"), run(program, &["-w", "-F", &chain], ""));
            }
            follow(&chain, &receiver);
        })?;
        Ok(Self { changes })
    }

    /// Lets packets to a port in, until what is returned is dropped.
    pub fn open(&self, local: SocketAddr, call_id: &str) -> PortRule {
        let port = RuledPort { local, call_id: call_id.into() };
        // Fails only when the thread is gone, at the daemon's end.
        let _ = self.changes.send(Change::Open(port.clone()));
        PortRule { changes: self.changes.clone(), port }
    }
}

impl Drop for PortRule {
    fn drop(&mut self) {
        let _ = self.changes.send(Change::Closed(self.port.clone()));
    }
}

fn follow(chain: &str, changes: &Receiver<Change>) {
    while let Ok(first) = changes.recv() {
        std::thread::sleep(GATHER);
        let mut batch = vec![first];
        batch.extend(changes.try_iter().take(BATCH - 1));
        settle(&mut batch);
        for (program, is_family) in
            [("iptables", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("ip6tables", IpAddr::is_ipv6)]
        {
            let own: Vec<&Change> =
                batch.iter().filter(|change| is_family(&change.port().local.ip())).collect();
            if own.is_empty() {
                continue;
            }
            let restore = format!("{program}-restore");
            let whole = script(chain, &own);
            if run(&restore, &["-w", "--noflush"], &whole).is_ok() {
                continue;
            }
            // One that cannot be carried out, such as the removal of a rule that somebody else has removed, fails all.
            for change in own {
                report(&rule(chain, change), run(&restore, &["-w", "--noflush"], &script(chain, &[change])));
            }
        }
    }
}

/// What was opened and closed meanwhile needs no rule.
fn settle(batch: &mut Vec<Change>) {
    let mut index = 0;
    while index < batch.len() {
        let closing = match &batch[index] {
            Change::Open(port) => Change::Closed(port.clone()),
            Change::Closed(_) => {
                index += 1;
                continue;
            }
        };
        match batch[index..].iter().position(|change| *change == closing) {
            Some(offset) => {
                batch.remove(index + offset);
                batch.remove(index);
            }
            None => index += 1,
        }
    }
}

impl Change {
    fn port(&self) -> &RuledPort {
        match self {
            Change::Open(port) | Change::Closed(port) => port,
        }
    }
}

fn script(chain: &str, changes: &[&Change]) -> String {
    let rules: Vec<String> = changes.iter().map(|change| rule(chain, change)).collect();
    format!("*filter\n{}\nCOMMIT\n", rules.join("\n"))
}

fn rule(chain: &str, change: &Change) -> String {
    let RuledPort { local, call_id } = change.port();
    let action = if matches!(change, Change::Open(_)) { "-A" } else { "-D" };
    let plain = |char: char| if char.is_ascii_graphic() && !matches!(char, '"' | '\\') { char } else { '_' };
    let comment: String = call_id.chars().map(plain).take(COMMENT).collect();
    format!(
        "{action} {chain} -d {} -p udp -m udp --dport {} -m comment --comment \"{comment}\" -j ACCEPT",
        local.ip(),
        local.port()
    )
}

fn run(program: &str, arguments: &[&str], input: &str) -> io::Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // A program that does not read its input says why.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

fn report(what: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::error!(limit = true, %error, "iptables-chain: {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> RuledPort {
        RuledPort { local: SocketAddr::from(([192, 0, 2, 1], number)), call_id: "a \"b\"".into() }
    }

    #[test]
    fn rules_name_port_and_call() {
        assert_eq!(
            script("media", &[&Change::Open(port(30_000)), &Change::Closed(port(30_002))]),
            "*filter\n-A media -d 192.0.2.1 -p udp -m udp --dport 30000 -m comment --comment \"a__b_\" -j ACCEPT\n\
             -D media -d 192.0.2.1 -p udp -m udp --dport 30002 -m comment --comment \"a__b_\" -j ACCEPT\nCOMMIT\n"
        );
    }

    #[test]
    fn ports_that_were_closed_meanwhile_need_no_rule() {
        use Change::{Closed, Open};
        let mut batch = vec![Closed(port(1)), Open(port(2)), Open(port(1)), Closed(port(2)), Open(port(3))];
        settle(&mut batch);
        assert_eq!(batch, [Closed(port(1)), Open(port(1)), Open(port(3))]);
    }
}
