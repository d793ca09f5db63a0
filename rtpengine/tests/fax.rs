//! A page through the fax gateway, both ways, without waiting: time is what the samples say.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use codec::t38::{Gateway, Options};
use e2e::fax::{End, LineFax, T38Fax, lines, write};
use rtpengine::proto::udptl::{Correction, Receiver, Sender};

const TURN: usize = 160;
const LINES: usize = 400;

/// A UDPTL path: packets take a while, and some are lost.
struct Way {
    sender: Sender,
    receiver: Receiver,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    random: u32,
    loss_percent: u32,
    lost: usize,
    buffer: Vec<u8>,
}

impl Way {
    fn new(correction: Correction, loss_percent: u32, seed: u32) -> Self {
        Self {
            sender: Sender::new(correction, 400),
            receiver: Receiver::default(),
            under_way: VecDeque::new(),
            random: seed,
            loss_percent,
            lost: 0,
            buffer: Vec::new(),
        }
    }

    fn send(&mut self, now: Instant, ifp: &[u8]) {
        assert!(self.sender.send(ifp, &mut self.buffer));
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if (self.random >> 8) % 100 < self.loss_percent {
            self.lost += 1;
        } else {
            self.under_way.push_back((now + Duration::from_millis(40), self.buffer.clone()));
        }
    }

    fn arrive(&mut self, now: Instant, mut take: impl FnMut(u16, &[u8])) {
        while self.under_way.front().is_some_and(|(at, _)| *at <= now) {
            let (_, datagram) = self.under_way.pop_front().expect("seen");
            self.receiver.receive(now, &datagram).expect("valid");
        }
        while let Some((number, ifp)) = self.receiver.next(now) {
            take(number, ifp);
        }
    }
}

/// Sends a page; gives how long the call took, in seconds.
fn fax(from_line: bool, options: Options, correction: Correction, loss_percent: u32, folder: &Path) -> usize {
    let name = format!("{from_line} {correction:?} {loss_percent} {options:?}");
    let (page, copy) = (folder.join("page.tif"), folder.join("copy.tif"));
    write(&page, LINES).expect("written");
    let _ = std::fs::remove_file(&copy);
    let (line_end, fax_end) =
        if from_line { (End::Sends, End::Receives) } else { (End::Receives, End::Sends) };
    let file = |end| if end == End::Sends { &page } else { &copy };
    let mut line = LineFax::new(line_end, file(line_end)).expect("libspandsp");
    let mut terminal = T38Fax::new(fax_end, file(fax_end)).expect("libspandsp");
    let mut gateway = Gateway::new(&options).expect("libspandsp");
    let mut to_terminal = Way::new(correction, loss_percent, 7);
    let mut to_gateway = Way::new(correction, loss_percent, 8);
    let mut now = Instant::now();
    let mut samples = [0; TURN];
    let mut turns = 0;
    while line.result().is_none() || terminal.result().is_none() {
        turns += 1;
        assert!(turns < 180 * 50, "{name}: {:?} {:?}", line.result(), terminal.result());
        now += Duration::from_millis(20);
        line.speak(&mut samples);
        gateway.hear(&mut samples);
        gateway.speak(&mut samples);
        line.hear(&mut samples);
        while let Some(packet) = gateway.next_packet() {
            to_terminal.send(now, &packet.octets);
            gateway.release(packet);
        }
        terminal.pass(TURN);
        while let Some((ifp, _)) = terminal.next_packet() {
            to_gateway.send(now, &ifp);
        }
        to_terminal.arrive(now, |number, ifp| terminal.receive(ifp, number));
        to_gateway.arrive(now, |number, ifp| gateway.receive(ifp, number));
    }
    assert_eq!((line.result(), terminal.result()), (Some(0), Some(0)), "{name}");
    drop((line, terminal));
    assert!(loss_percent == 0 || to_terminal.lost + to_gateway.lost > 3, "{name}: something was lost");
    let (sent, got) = (lines(&page).expect("a page"), lines(&copy).expect("a copy"));
    assert_eq!(sent.len(), LINES);
    assert!(got == sent, "{name}: {} of {} lines are as they were", same(&sent, &got), sent.len());
    turns / 50
}

fn same(a: &[Vec<u8>], b: &[Vec<u8>]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a == b).count()
}

#[test]
fn page_arrives_intact_both_ways() {
    let folder = tempfile::tempdir().expect("a folder");
    for from_line in [true, false] {
        for correction in
            [Correction::None, Correction::Redundancy(3), Correction::Fec { span: 3, entries: 3 }]
        {
            let seconds = fax(from_line, Options::default(), correction, 0, folder.path());
            assert!((10..120).contains(&seconds), "{seconds} s");
        }
    }
}

#[test]
fn page_arrives_intact_at_two_percent_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    for from_line in [true, false] {
        for correction in [Correction::Redundancy(3), Correction::Fec { span: 3, entries: 3 }] {
            fax(from_line, Options::default(), correction, 2, folder.path());
        }
    }
}

#[test]
fn options_of_the_modems_have_an_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = fax(true, Options::default(), Correction::Redundancy(3), 0, folder.path());
    let slow = Options { v17: false, v29: false, ..Options::default() };
    let slow = fax(true, slow, Correction::Redundancy(3), 0, folder.path());
    assert!(slow > all + 5, "V.27ter takes longer: {slow} s, else {all} s");
    let without_ecm = Options { ecm: false, ..Options::default() };
    fax(false, without_ecm, Correction::Redundancy(3), 0, folder.path());
}
