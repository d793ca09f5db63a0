//! Session descriptions of the test's parties, and reading what the daemon answered.

use std::net::{IpAddr, SocketAddr};

use codec::PayloadFormat;

/// A payload format from `PT NAME/RATE[/CHANNELS] [FMTP]`.
pub fn format(text: &str) -> PayloadFormat {
    let mut words = text.splitn(3, ' ');
    let payload_type = words.next().and_then(|word| word.parse().ok()).expect("payload type");
    let mut parts = words.next().expect("encoding").split('/');
    PayloadFormat {
        payload_type,
        name: parts.next().expect("name").into(),
        clock_rate: parts.next().and_then(|rate| rate.parse().ok()).expect("clock rate"),
        channels: parts.next().map_or(1, |channels| channels.parse().expect("channels")),
        fmtp: words.next().unwrap_or_default().into(),
    }
}

/// A description with one audio medium at `at`; `attributes` are added to the medium.
pub fn audio(at: SocketAddr, formats: &[&str], attributes: &[&str]) -> String {
    let family = if at.is_ipv4() { "IP4" } else { "IP6" };
    let ip = at.ip();
    let formats: Vec<PayloadFormat> = formats.iter().map(|text| format(text)).collect();
    let numbers: Vec<String> = formats.iter().map(|format| format.payload_type.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP {}\r\n",
        at.port(),
        numbers.join(" ")
    );
    for format in &formats {
        let channels = if format.channels > 1 { format!("/{}", format.channels) } else { String::new() };
        let (number, name, rate) = (format.payload_type, &format.name, format.clock_rate);
        sdp.push_str(&format!("a=rtpmap:{number} {name}/{rate}{channels}\r\n"));
        if !format.fmtp.is_empty() {
            sdp.push_str(&format!("a=fmtp:{number} {}\r\n", format.fmtp));
        }
    }
    attributes.iter().for_each(|attribute| sdp.push_str(&format!("a={attribute}\r\n")));
    sdp
}

/// The first medium of a description.
#[derive(Clone, Debug)]
pub struct Media {
    /// Where RTP is to be sent.
    pub rtp: SocketAddr,
    /// Where RTCP is to be sent.
    pub rtcp: SocketAddr,
    /// Formats in the order of the `m=` line; only those with an `rtpmap`.
    pub formats: Vec<PayloadFormat>,
    /// Lines of the medium, without `a=`.
    pub attributes: Vec<String>,
}

impl Media {
    /// Whether an attribute line is there.
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|line| line == attribute)
    }

    /// The format with this name.
    pub fn format(&self, name: &str) -> &PayloadFormat {
        let found = self.formats.iter().find(|format| format.name.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("{name} is not among {:?}", self.formats))
    }
}

/// Reads the first medium.
///
/// # Panics
/// When there is none, or it lacks an address.
pub fn media(sdp: &str) -> Media {
    let mut address: Option<IpAddr> = None;
    let (mut port, mut numbers, mut attributes) = (None, Vec::new(), Vec::new());
    for line in sdp.lines() {
        if let Some(rest) = line.strip_prefix("m=") {
            if port.is_some() {
                break;
            }
            let mut words = rest.split(' ').skip(1);
            port = words.next().and_then(|word| word.parse::<u16>().ok());
            numbers = words.skip(1).filter_map(|word| word.parse::<u8>().ok()).collect();
        } else if let Some(rest) = line.strip_prefix("c=IN IP") {
            address = rest.get(2..).and_then(|text| text.parse().ok());
        } else if let (Some(rest), true) = (line.strip_prefix("a="), port.is_some()) {
            attributes.push(rest.to_owned());
        }
    }
    let find = |prefix: String| {
        attributes.iter().find_map(|line| line.strip_prefix(prefix.as_str()).map(str::to_owned))
    };
    let formats = numbers.iter().filter_map(|number| {
        let fmtp = find(format!("fmtp:{number} ")).unwrap_or_default();
        find(format!("rtpmap:{number} ")).map(|map| format(&format!("{number} {map} {fmtp}")))
    });
    let (Some(ip), Some(port)) = (address, port) else { panic!("no medium with an address in\n{sdp}") };
    let rtcp =
        find("rtcp:".into()).and_then(|text| text.split(' ').next().and_then(|port| port.parse().ok()));
    let formats = formats.collect();
    Media { rtp: (ip, port).into(), rtcp: (ip, rtcp.unwrap_or(port + 1)).into(), formats, attributes }
}
