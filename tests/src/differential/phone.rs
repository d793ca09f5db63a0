//! A party of a generated call: what it would put into its session descriptions.

use std::fmt::Write as _;

use super::canonical::sections;
use super::dice::Dice;
use super::features::{Feature, Features};

/// One party. Its description changes from request to request.
#[derive(Clone, Debug)]
pub struct Phone {
    /// Tag.
    pub tag: String,
    address: String,
    user: &'static str,
    version: u32,
    next_port: u16,
    /// Session-level lines behind `t=`.
    session: Vec<String>,
    /// Session-level connection line, or each section has its own.
    common_connection: bool,
    line_end: &'static str,
    /// Sections.
    pub media: Vec<Media>,
}

/// One section.
#[derive(Clone, Debug)]
pub struct Media {
    kind: String,
    port: u16,
    protocol: String,
    formats: Vec<Format>,
    /// Address when it differs from the session's.
    connection: Option<String>,
    bandwidth: Option<String>,
    direction: Option<String>,
    attributes: Vec<String>,
}

#[derive(Clone, Debug)]
struct Format {
    number: String,
    map: Option<String>,
    parameters: Option<String>,
}

impl Phone {
    /// A phone with media of its own choice.
    pub fn new(tag: &str, index: usize, dice: &mut Dice, features: &Features) -> Self {
        let v6 = features.has(Feature::Ipv6) && dice.chance(12);
        let address = match v6 {
            true => format!("2001:db8:0:{}::{}", index + 1, 10 + dice.below(80)),
            false => format!("192.0.{}.{}", [2, 3, 5][index % 3], 10 + dice.below(80)),
        };
        let mut session = Vec::new();
        for (line, chance) in [
            ("b=AS:512", 8),
            ("b=CT:1000", 3),
            ("a=X-session:one two", 8),
            ("a=tool:phone 1.0", 6),
            ("a=ice-options:trickle", 0),
        ] {
            if features.has(Feature::SessionLines) && dice.chance(chance) {
                session.push(line.to_owned());
            }
        }
        let mut phone = Self {
            tag: tag.to_owned(),
            address,
            user: ["-", "desk", "softie"][dice.below(3)],
            version: 1 + dice.below(2000) as u32,
            next_port: 40_000 + 2_000 * index as u16 + 2 * dice.below(200) as u16,
            session,
            common_connection: dice.chance(75),
            line_end: if dice.chance(90) { "\r\n" } else { "\n" },
            media: Vec::new(),
        };
        let count = if features.has(Feature::SeveralMedia) { [1, 1, 1, 2, 2, 3][dice.below(6)] } else { 1 };
        for i in 0..count {
            phone.add_media(i, dice, features);
        }
        phone
    }

    fn take_port(&mut self) -> u16 {
        self.next_port += 2;
        self.next_port
    }

    /// Appends a section.
    pub fn add_media(&mut self, index: usize, dice: &mut Dice, features: &Features) {
        let kinds: &[&str] =
            if features.has(Feature::Video) && index > 0 { &["video", "audio", "video"] } else { &["audio"] };
        let kind = dice.pick(kinds).to_owned();
        let mut media = Media {
            port: self.take_port(),
            protocol: "RTP/AVP".to_owned(),
            formats: formats(&kind, dice, features),
            connection: None,
            bandwidth: None,
            direction: None,
            attributes: Vec::new(),
            kind,
        };
        media.decorate(index, dice, features);
        self.media.push(media);
    }

    /// Changes something, as phones do in the middle of a call.
    pub fn change(&mut self, dice: &mut Dice, features: &Features) {
        self.version += dice.below(3) as u32;
        if !features.has(Feature::ReOfferChanges) {
            return;
        }
        let which = dice.below(self.media.len());
        match dice.below(12) {
            0 | 1 => self.media[which].direction = Some("a=sendonly".into()),
            2 => self.media[which].direction = Some("a=inactive".into()),
            3 if self.address.contains('.') => {
                let all = dice.chance(50);
                let held = self.media.iter_mut().enumerate().filter(|(i, _)| all || *i == which);
                held.for_each(|(_, media)| media.connection = Some("0.0.0.0".into()));
            }
            4 => self.media.iter_mut().for_each(Media::resume),
            5 => self.media[which].port = self.take_port(),
            6 => self.address = self.address.replace(".2.", ".9."),
            7 if self.media.len() < 4 && features.has(Feature::SeveralMedia) => {
                self.add_media(self.media.len(), dice, features);
            }
            8 if self.media.iter().filter(|media| media.port != 0).count() > 1 => self.media[which].port = 0,
            9 => {
                let media = &mut self.media[which];
                media.formats = formats(&media.kind, dice, features);
            }
            10 => self.media[which].formats.rotate_left(1),
            _ => {}
        }
    }

    /// Takes a description that this phone received, and chooses an answer.
    pub fn answer_to(&mut self, received: &str, dice: &mut Dice, features: &Features) {
        let (_, offered) = sections(received);
        let old = std::mem::take(&mut self.media);
        for (i, lines) in offered.iter().enumerate() {
            let mut media = Media::answer(lines, old.get(i), dice, features);
            let only = self.media.iter().all(|media| media.port == 0) && i + 1 == offered.len();
            if media.port != 0 && (only || !features.has(Feature::RejectedMedia) || !dice.chance(12)) {
                media.port = match old.get(i).filter(|old| old.port != 0 && old.kind == media.kind) {
                    Some(old) => old.port,
                    None => self.take_port(),
                };
            } else {
                media.port = 0;
            }
            self.media.push(media);
        }
    }

    /// Whether any section has a port.
    pub fn is_live(&self) -> bool {
        self.media.iter().any(|media| media.port != 0)
    }

    /// The description as text.
    pub fn sdp(&self) -> String {
        let family = |address: &str| if address.contains(':') { "IP6" } else { "IP4" };
        let mut lines = vec!["v=0".to_owned()];
        let (user, version, address) = (self.user, self.version, &self.address);
        lines.push(format!("o={user} 4711 {version} IN {} {address}", family(address)));
        lines.push("s=call".to_owned());
        let connection = |address: &str| format!("c=IN {} {address}", family(address));
        if self.common_connection {
            lines.push(connection(address));
        }
        lines.extend(self.session.iter().filter(|line| line.starts_with("b=")).cloned());
        lines.push("t=0 0".to_owned());
        lines.extend(self.session.iter().filter(|line| !line.starts_with("b=")).cloned());
        for media in &self.media {
            let mut head = format!("m={} {} {}", media.kind, media.port, media.protocol);
            for format in &media.formats {
                write!(head, " {}", format.number).expect("writing to a String");
            }
            lines.push(head);
            match &media.connection {
                Some(own) => lines.push(connection(own)),
                None if !self.common_connection => lines.push(connection(address)),
                None => {}
            }
            lines.extend(media.bandwidth.clone());
            for Format { number, map, parameters } in &media.formats {
                lines.extend(map.as_ref().map(|map| format!("a=rtpmap:{number} {map}")));
                lines.extend(parameters.as_ref().map(|text| format!("a=fmtp:{number} {text}")));
            }
            lines.extend(
                media.attributes.iter().map(|line| line.replace("{port+1}", &(media.port + 1).to_string())),
            );
            lines.extend(media.direction.clone());
        }
        lines.iter().flat_map(|line| [line.as_str(), self.line_end]).collect()
    }
}

impl Media {
    fn resume(&mut self) {
        self.connection = self.connection.take().filter(|address| address != "0.0.0.0");
        self.direction = None;
    }

    fn decorate(&mut self, index: usize, dice: &mut Dice, features: &Features) {
        if features.has(Feature::Directions) && dice.chance(35) {
            self.direction =
                Some(dice.pick(&["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"]).to_owned());
        }
        if features.has(Feature::OwnAddress) && dice.chance(8) {
            self.connection = Some(format!("192.0.7.{}", 10 + dice.below(80)));
        }
        if features.has(Feature::Bandwidth) && dice.chance(15) {
            self.bandwidth = Some(dice.pick(&["b=AS:64", "b=TIAS:64000", "b=RR:800", "b=RS:600"]).to_owned());
        }
        let mut add = |feature: Feature, percent: u64, lines: &[&str]| {
            if features.has(feature) && dice.chance(percent) {
                self.attributes.push(dice.pick(lines).to_owned());
            }
        };
        add(Feature::Rtcp, 25, &["a=rtcp:{port+1}", "a=rtcp:45001", "a=rtcp:45003 IN IP4 192.0.8.8"]);
        add(Feature::RtcpMux, 25, &["a=rtcp-mux"]);
        add(
            Feature::UnknownAttributes,
            20,
            &["a=X-flag", "a=X-value:a b c", "a=ssrc:12345 cname:abc", "a=rtcp-xr:voip-metrics"],
        );
        add(Feature::Ptime, 20, &["a=ptime:20", "a=ptime:30", "a=ptime:40"]);
        add(Feature::Ptime, 6, &["a=maxptime:40", "a=maxptime:120"]);
        let mid = format!("a=mid:m{index}");
        add(Feature::Mid, 15, &[&mid]);
        if features.has(Feature::Ice) && dice.chance(12) {
            self.attributes.extend(ice_lines(self.port, dice));
        }
        if features.has(Feature::Sdes) && dice.chance(15) {
            self.protocol = dice.pick(&["RTP/SAVP", "RTP/SAVP", "RTP/SAVPF"]).to_owned();
            self.attributes.extend(crypto_lines(dice));
        } else if features.has(Feature::Dtls) && dice.chance(10) {
            self.protocol = dice.pick(&["UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"]).to_owned();
            self.attributes.extend(dtls_lines(dice, &["actpass", "actpass", "active", "passive"]));
        } else if features.has(Feature::Avpf) && dice.chance(8) {
            self.protocol = "RTP/AVPF".to_owned();
        }
    }

    fn answer(lines: &[&str], before: Option<&Self>, dice: &mut Dice, features: &Features) -> Self {
        let words: Vec<&str> = lines[0].trim_start_matches("m=").split(' ').collect();
        let find = |prefix: String| {
            lines.iter().find_map(|line| line.strip_prefix(prefix.as_str())).map(str::to_owned)
        };
        let mut formats: Vec<Format> = words
            .iter()
            .skip(3)
            .filter(|word| !word.is_empty())
            .map(|number| Format {
                number: (*number).to_owned(),
                map: find(format!("a=rtpmap:{number} ")),
                parameters: find(format!("a=fmtp:{number} ")),
            })
            .collect();
        let is_event =
            |format: &Format| format.map.as_ref().is_some_and(|map| map.starts_with("telephone-event"));
        if features.has(Feature::AnswerSubset) && formats.len() > 1 && dice.chance(70) {
            let kept = dice.below(formats.len());
            let keep_events = dice.chance(60);
            let first = formats[kept].clone();
            formats.retain(|format| {
                if is_event(format) { keep_events } else { format.number == first.number || dice.chance(30) }
            });
            if dice.chance(15) {
                dice.shuffle(&mut formats);
            }
        }
        if formats.iter().all(is_event) && !words.is_empty() {
            formats = words
                .iter()
                .skip(3)
                .filter(|word| !word.is_empty())
                .take(1)
                .map(|number| Format {
                    number: (*number).to_owned(),
                    map: find(format!("a=rtpmap:{number} ")),
                    parameters: None,
                })
                .collect();
        }
        let port = words.get(1).and_then(|port| port.parse().ok()).unwrap_or(0);
        let mut media = Self {
            kind: words.first().copied().unwrap_or("audio").to_owned(),
            port,
            protocol: words.get(2).copied().unwrap_or("RTP/AVP").to_owned(),
            formats,
            connection: None,
            bandwidth: None,
            direction: None,
            attributes: Vec::new(),
        };
        let has = |line: &str| lines.contains(&line);
        if features.has(Feature::Directions) {
            let choice: &[&str] = if has("a=sendonly") {
                &["a=recvonly", "a=recvonly", "a=inactive"]
            } else if has("a=recvonly") {
                &["a=sendonly", "a=sendonly", "a=inactive"]
            } else if has("a=inactive") {
                &["a=inactive"]
            } else {
                &["a=sendrecv", "a=sendrecv", "", "", "", "a=sendonly", "a=recvonly", "a=inactive"]
            };
            media.direction = Some(dice.pick(choice).to_owned()).filter(|line| !line.is_empty());
        }
        if has("a=rtcp-mux") && dice.chance(60) {
            media.attributes.push("a=rtcp-mux".into());
        } else if features.has(Feature::Rtcp) && dice.chance(15) {
            media.attributes.push("a=rtcp:{port+1}".into());
        }
        if features.has(Feature::Ptime) && dice.chance(12) {
            media.attributes.push(dice.pick(&["a=ptime:20", "a=ptime:30"]).to_owned());
        }
        if features.has(Feature::UnknownAttributes) && dice.chance(10) {
            media.attributes.push("a=X-answer:1".into());
        }
        media.attributes.extend(
            lines
                .iter()
                .find(|line| line.starts_with("a=mid:"))
                .filter(|_| dice.chance(80))
                .map(|line| (*line).to_owned()),
        );
        if lines.iter().any(|line| line.starts_with("a=ice-ufrag:")) && dice.chance(80) {
            media.attributes.extend(ice_lines(47_000, dice));
        }
        let cryptos: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("a=crypto:")).collect();
        let has_fingerprint = lines.iter().any(|line| line.starts_with("a=fingerprint:"));
        if has_fingerprint && (cryptos.is_empty() || media.protocol.starts_with("UDP")) {
            let roles: &[&str] = if has("a=setup:active") {
                &["passive"]
            } else if has("a=setup:passive") {
                &["active"]
            } else {
                &["active", "active", "passive"]
            };
            media.attributes.extend(dtls_lines(dice, roles));
        } else if !cryptos.is_empty() {
            let of_line = |line: &str| line.split(" inline:").next().map(str::to_owned);
            let chosen = of_line(cryptos[dice.below(cryptos.len())]);
            // A phone that had chosen already mostly stays with it.
            let before = before
                .and_then(|before| before.attributes.iter().find(|line| line.starts_with("a=crypto:")))
                .filter(|line| cryptos.iter().any(|offered| of_line(offered) == of_line(line)))
                .filter(|_| dice.chance(80));
            media.attributes.extend(match before {
                Some(line) => Some(line.clone()),
                None => chosen.map(|line| {
                    let suite = line.split(' ').nth(1).unwrap_or_default();
                    format!("{line} inline:{}", key_for(suite, dice))
                }),
            });
        }
        media
    }
}

fn formats(kind: &str, dice: &mut Dice, features: &Features) -> Vec<Format> {
    let audio: &[(&str, Option<&str>, Option<&str>)] = &[
        ("0", Some("PCMU/8000"), None),
        ("8", Some("PCMA/8000"), None),
        ("9", Some("G722/8000"), None),
        ("3", Some("GSM/8000"), None),
        ("0", None, None),
        ("8", None, None),
        ("9", None, None),
        ("18", Some("G729/8000"), Some("annexb=no")),
        ("13", Some("CN/8000"), None),
        ("96", Some("opus/48000/2"), Some("useinbandfec=1")),
        ("97", Some("iLBC/8000"), Some("mode=20")),
        ("98", Some("speex/16000"), None),
        ("99", Some("speex/8000"), None),
        ("102", Some("AMR/8000"), Some("octet-align=1")),
        ("104", Some("X-codec/8000"), Some("a=b; c=d")),
        ("105", Some("L16/16000"), None),
        ("8", Some("pcma/8000/1"), None),
        ("112", Some("G7221/16000"), Some("bitrate=32000")),
    ];
    let video: &[(&str, Option<&str>, Option<&str>)] = &[
        ("110", Some("VP8/90000"), None),
        ("111", Some("H264/90000"), Some("profile-level-id=42e01f;packetization-mode=1")),
        ("34", Some("H263/90000"), None),
        ("34", None, None),
        ("115", Some("H265/90000"), None),
    ];
    let table = if kind == "video" { video } else { audio };
    let usable = if features.has(Feature::ManyCodecs) { table.len() } else { 2 };
    let mut chosen: Vec<Format> = Vec::new();
    for _ in 0..1 + dice.below(4) {
        let (number, map, parameters) = table[dice.below(usable)];
        if chosen.iter().all(|format| format.number != number) {
            let own = |text: Option<&str>| text.map(str::to_owned);
            chosen.push(Format { number: number.to_owned(), map: own(map), parameters: own(parameters) });
        }
    }
    // CN behind the others, as phones do.
    chosen.sort_by_key(|format| format.number == "13");
    if kind == "audio" && features.has(Feature::Dtmf) && dice.chance(45) {
        let number = dice.pick(&["101", "101", "127"]).to_owned();
        let parameters = dice.pick(&["0-15", "0-16", ""]).to_owned();
        let parameters = Some(parameters).filter(|text| !text.is_empty());
        chosen.push(Format { number, map: Some("telephone-event/8000".into()), parameters });
    }
    chosen
}

fn ice_lines(port: u16, dice: &mut Dice) -> Vec<String> {
    let mut lines = vec![format!("a=ice-ufrag:{}", dice.token(6)), format!("a=ice-pwd:{}", dice.token(24))];
    lines.push(format!("a=candidate:1 1 UDP 2130706431 192.0.2.{} {port} typ host", 100 + dice.below(50)));
    if dice.chance(70) {
        lines.push(format!("a=candidate:1 2 UDP 2130706430 192.0.2.150 {} typ host", port + 1));
    }
    if dice.chance(40) {
        lines.push(format!(
            "a=candidate:2 1 udp 1694498815 198.51.100.7 {port} typ srflx raddr 192.0.2.9 rport {port}"
        ));
    }
    lines
}

fn key_for(suite: &str, dice: &mut Dice) -> String {
    let octets = match suite {
        "AEAD_AES_256_GCM" => 44,
        "AEAD_AES_128_GCM" => 28,
        _ if suite.starts_with("AES_256") => 46,
        _ if suite.starts_with("AES_192") => 38,
        _ => 30,
    };
    // Base64 without padding; the last letter may only carry the bits that are there.
    let (full, rest) = (octets / 3 * 4, octets % 3);
    match rest {
        0 => dice.token(full),
        1 => dice.token(full + 1) + "A",
        _ => dice.token(full + 2) + "A",
    }
}

fn crypto_lines(dice: &mut Dice) -> Vec<String> {
    let suites =
        ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM", "AES_256_CM_HMAC_SHA1_80"];
    let chosen = 1 + dice.below(3);
    let first = dice.below(suites.len());
    (0..chosen)
        .map(|i| {
            let suite = suites[(first + i) % suites.len()];
            format!("a=crypto:{} {suite} inline:{}", i + 1, key_for(suite, dice))
        })
        .collect()
}

fn dtls_lines(dice: &mut Dice, roles: &[&str]) -> Vec<String> {
    let octets: Vec<String> = (0..32).map(|_| format!("{:02X}", dice.below(256))).collect();
    vec![format!("a=fingerprint:sha-256 {}", octets.join(":")), format!("a=setup:{}", dice.pick(roles))]
}
